"""REST and what stands around it on the HTTP ports."""
