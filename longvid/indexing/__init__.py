"""The index wing: video files in, a store out. No question is known here."""
