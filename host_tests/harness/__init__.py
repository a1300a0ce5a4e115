"""What only the tests of dormouse itself are built from; the rest is in tools/testing."""
