"""What `dormouse plan` computes: wire, phases, wear, fleet, advice. No input or output in here."""
