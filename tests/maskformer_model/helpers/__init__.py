"""What several tests of the model share."""
