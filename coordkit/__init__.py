"""coordkit: six coordination layers for agents, built one at a time and measured."""
