"""The experiment of 2017 on one machine: real nginx, real load, two namespaces.

`programs` runs what the lab is made with; `namespaces` makes the two machines; `wires`
connects them, by a veth (`network`) or by two taps, whose packets `tap_wire.c` carries;
`nginx` and `load` are what runs in them; `experiment` puts them together; `demo` is the order
of the experiment's phases. Nothing of these measures: the caller brings that.

`udp_experiment` is another: how a UDP forwarder scales over sockets. Its programs are
`udp_forwarder`, `udp_sender` and `udp_control`, Python on `messages`; `udp_account` and
`udp_rx_cpus` count, `udp_cases` has what a case showed.
"""
