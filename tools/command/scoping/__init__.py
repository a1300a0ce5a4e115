"""What `dormouse scope` is made of: traces, captures, what is decoded of them, pictures, pages."""
