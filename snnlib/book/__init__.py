"""What the pages of the book need: the profile, the benchmark tables, figures in sentences."""
