"""Why a chain got its score: read scored rollouts, explain one, score one chain, score past ones again."""
