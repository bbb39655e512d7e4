"""What a data folder holds, as one page: counted from the files, judged, drawn. Nothing is converted here."""
