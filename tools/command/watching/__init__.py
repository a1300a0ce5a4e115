"""What `dormouse watch` is made of: figures of brokers, nodes by their status, alerts."""
