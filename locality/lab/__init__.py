"""The experiment of 2017 on one machine: real nginx, real load, two namespaces.

`programs` runs what the lab is made with; `namespaces` makes the two machines
and the cable between them; `nginx` and `load` are what runs in them;
`experiment` puts them together; `demo` is the order of the experiment's phases.
Nothing here measures: the caller brings that.
"""
