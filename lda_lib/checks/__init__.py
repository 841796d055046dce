"""What an exercise verifies: one function per exercise, `exNN_k`."""
