"""Network families, one package each."""
