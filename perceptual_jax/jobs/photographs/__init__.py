"""Jobs over whole photographs: their faces are found, restored as crops are, and put back."""
