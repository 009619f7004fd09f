"""The site of the test of deploys, as it is after."""
