"""Question answering and speed, measured: every figure longvid prints comes from here."""
