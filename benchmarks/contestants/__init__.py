"""What is timed, ours and the peers', each as a program of its own."""
