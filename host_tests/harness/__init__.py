"""What the tests are built from: runtimes, brokers, the chaos proxy, the simulated board."""
