"""The grammar of questions, chains and answers, shared by traces, rewards and evaluation."""
