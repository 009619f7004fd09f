"""The site of the test of deploys, as it was before."""
