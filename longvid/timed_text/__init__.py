"""Text with times: subtitle formats, alignment with frames, lexical search. Pure text."""
