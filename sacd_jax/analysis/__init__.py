"""The paper's figures 6 to 13 from the predictions of finished runs."""
