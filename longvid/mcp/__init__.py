"""The face for agents: indexing, search and answers as tools of the Model Context Protocol."""
