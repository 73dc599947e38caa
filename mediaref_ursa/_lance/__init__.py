"""The adapter to Lance: its calls, the processes that make them, and checks of a table before it is read."""
