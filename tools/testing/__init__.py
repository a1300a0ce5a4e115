"""What tests of device programs are built from: runtimes, the simulated board, brokers, proxies."""
