"""Text sources: parts that write down what a video says and shows."""
