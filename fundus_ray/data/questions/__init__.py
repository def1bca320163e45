"""Questions of FunBench's task types, made from labels and lesion masks."""
