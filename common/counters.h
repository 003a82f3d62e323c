/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_COUNTERS_H
#define QP_COMMON_COUNTERS_H

/*
 * Counters that a data plane module keeps and the control plane exports, by
 * name: the shared block of common/ipc.h has their values in this order.
 */

/* Why a frame was not taken; each has a counter of its own. X(name, text). */
#define QP_IP_DROPS(X)                                                                             \
	X(QP_IP_SHORT, "frame shorter than its headers")                                           \
	X(QP_IP_NOT_IP, "neither IPv4 nor IPv6")                                                   \
	X(QP_IP_BAD_HEADER, "IP header fields contradict each other")                              \
	X(QP_IP_BAD_IP_CKSUM, "IPv4 header checksum wrong")                                        \
	X(QP_IP_BAD_L4_CKSUM, "TCP, UDP or ICMP checksum wrong")                                   \
	X(QP_IP_FRAGMENT, "IP fragment")                                                           \
	X(QP_IP_EXT_HEADER, "IPv6 extension header that is not handled")                           \
	X(QP_IP_PROTO, "transport protocol not served")                                            \
	X(QP_IP_BAD_ADDR, "source address cannot be answered")

/* Counters: written by the owning lcore alone, read by anybody (relaxed). X(field, help). */
#define QP_TCP_COUNTERS(X)                                                                         \
	X(passive_opens, "connections accepted")                                                   \
	X(active_opens, "connections opened by us")                                                \
	X(established, "connections established now")                                              \
	X(conns, "connections in any state now, TIME_WAIT included")                               \
	X(held_bytes, "payload bytes that connections hold now")                                    \
	X(segs_in, "segments received")                                                            \
	X(segs_joined, "of those, segments that came to TCP with an earlier one of their burst")   \
	X(segs_out, "segments sent")                                                               \
	X(bytes_in, "payload bytes received in order")                                             \
	X(bytes_out, "payload bytes sent, retransmissions excluded")                               \
	X(retrans_segs, "segments retransmitted")                                                  \
	X(retrans_bytes, "payload bytes retransmitted")                                            \
	X(rto_fired, "retransmission timeouts")                                                    \
	X(fast_recoveries, "loss recoveries without a timeout")                                    \
	X(ooo_segs, "segments received out of order")                                              \
	X(dup_segs, "segments received twice")                                                     \
	X(rst_in, "resets received and accepted")                                                  \
	X(rst_out, "resets sent")                                                                  \
	X(rst_stray, "of those, to segments of no connection")                                     \
	X(rst_refused, "of those, to connections that nobody took")                                \
	X(rst_aborted, "of those, because the client or the tunnel's end asked for it")            \
	X(rst_timeout, "of those, to peers that were silent or took nothing for too long")         \
	X(rst_no_memory, "of those, for want of memory")                                           \
	X(rst_closed, "of those, because the port was given back or the data plane ends")          \
	X(rst_limited, "segments of no connection that were not reset: too many this second")      \
	X(challenge_acks, "challenge ACKs sent (RFC 5961)")                                        \
	X(zero_window_probes, "zero-window probes sent")                                           \
	X(ecn_marks_in, "segments received with a congestion mark (RFC 3168)")                     \
	X(ecn_reductions, "congestion window reductions for a mark that the peer echoed")          \
	X(drop_no_listener, "segments for a port that nobody listens on")                          \
	X(drop_port_moved, "connection attempts that came to a port just before it moved to another worker") \
	X(drop_cookie_early, "text that overtook its SYN cookie, which it may not be reset for")     \
	X(drop_bad_segment, "segments whose header or options contradict themselves")              \
	X(drop_out_of_window, "segments outside the window")                                       \
	X(drop_paws, "segments refused by PAWS (RFC 7323)")                                        \
	X(drop_no_memory, "segments dropped for want of mbufs or slots")                           \
	X(drop_ooo_limit, "out-of-order data beyond a connection's limit")                         \
	X(drop_backlog, "connection attempts beyond a limit")                                      \
	X(drop_no_port, "active opens without a free port for their remote end")                   \
	X(syn_cookies_sent, "SYN cookies sent")                                                    \
	X(syn_cookies_ok, "connections opened by a SYN cookie")                                    \
	X(icmp_ignored, "ICMP errors about nothing of ours, or that claim nothing new")            \
	X(icmp_mtu_taken, "path MTUs lowered by an ICMP error")                                    \
	X(icmp_mtu_pending, "ICMP errors below a proven segment size, kept waiting (RFC 5927)")    \
	X(icmp_mtu_refuted, "ICMP errors that an acknowledgment has refuted")                      \
	X(mtu_black_holes, "path MTUs lowered after timeouts without ICMP (RFC 4821)")             \
	X(mtu_probes, "larger segments tried (RFC 4821)")                                          \
	X(mtu_probes_lost, "larger segments tried and lost")                                       \
	X(mtu_raised, "path MTUs raised by a probe")                                               \
	X(zero_windows_ended, "connections reset whose peer kept its window closed")               \
	X(slow_peers_ended, "connections reset whose peer took next to nothing, mbufs short")      \
	X(tiny_segs, "segments received with a few bytes of payload")                              \
	X(dup_bytes, "payload bytes received again")                                               \
	X(sack_bad, "SACK blocks of what was never sent")                                          \
	X(sack_limited, "SACK blocks left alone beyond a limit of work")                           \
	X(sack_reneged, "peers that threw away what they had SACKed")                              \
	X(ack_unsent, "acknowledgments of what was never sent")                                    \
	X(ack_early, "acknowledgments faster than the path, which grow cwnd no further")           \
	X(rst_blind, "resets beside the next sequence number, not obeyed (RFC 5961)")              \
	X(syn_blind, "SYNs for a synchronized connection, not obeyed (RFC 5961)")                  \
	X(time_wait_evicted, "TIME_WAITs ended early for a new connection")                        \
	X(drop_source_limit, "connection attempts beyond a source address's limit")                \
	X(fastopen_cookies, "Fast Open cookies given out (RFC 7413)")                              \
	X(fastopen_ok, "connections opened by a SYN with a Fast Open cookie")                      \
	X(fastopen_invalid, "SYNs with a Fast Open cookie that is not ours or too old")            \
	X(fastopen_over_limit, "SYNs with a good Fast Open cookie beyond the limit")

/* UDP forwards. A virtual connection is one outside address and port on a forwarded port. */
#define QP_UDP_COUNTERS(X)                                                                         \
	X(flows, "virtual connections now")                                                        \
	X(flows_opened, "virtual connections opened")                                              \
	X(flows_idle, "virtual connections ended after the idle time")                             \
	X(flows_reclaimed, "idle virtual connections ended early because a client allows no more streams") \
	X(flows_refused, "virtual connections that the client reset or refused")                   \
	X(flows_bad_record, "virtual connections ended for a record that is too long or cut short") \
	X(flows_unreachable, "virtual connections ended by an ICMP error of the outside")          \
	X(datagrams_in, "datagrams outside to tunnel")                                             \
	X(datagrams_out, "datagrams tunnel to outside")                                            \
	X(bytes_in, "payload bytes outside to tunnel")                                             \
	X(bytes_out, "payload bytes tunnel to outside")                                            \
	X(queued_bytes, "bytes that clients have not acknowledged, now")                           \
	X(super_segments_out, "frames sent that hold several datagrams")                           \
	X(drop_no_port, "datagrams to a port that is not forwarded")                               \
	X(drop_limit, "datagrams of a new source beyond the limit in all")                         \
	X(drop_tunnel_limit, "datagrams of a new source beyond the limit of its tunnel")           \
	X(drop_client_limit, "datagrams of a new source beyond the limits of its tunnel's client")  \
	X(drop_source, "datagrams from networks that the tunnel's client does not serve")           \
	X(drop_bandwidth_in, "datagrams to a tunnel beyond its client's bandwidth")                \
	X(drop_bandwidth_out, "datagrams from a tunnel beyond its client's bandwidth")             \
	X(drop_no_stream, "datagrams that waited in vain for the client to allow a stream")        \
	X(drop_queue_full, "datagrams beyond what a virtual connection may have queued")           \
	X(drop_no_memory, "datagrams dropped for want of mbufs or heap")                           \
	X(drop_too_long, "datagrams longer than a record may be")                                  \
	X(no_local_port, "virtual connections without a free local port for their destination")    \
	X(fragments_in, "IP fragments received")                                                   \
	X(fragments_out, "IP fragments sent")                                                      \
	X(reassembled, "datagrams put together from fragments")                                    \
	X(fragment_timeouts, "datagrams whose other fragments did not come in time")               \
	X(fragment_limit, "datagrams in pieces given up for newer ones, or with too many pieces")  \
	X(fragment_bad, "datagrams whose fragments contradict each other or make no datagram")     \
	X(fragment_overlap, "datagrams dropped for fragments that overlap")                        \
	X(fragment_twice, "fragments dropped because they were there already")                     \
	X(icmp_sent, "port unreachable sent to the outside")                                       \
	X(icmp_limited, "port unreachable not sent: too many this second")                         \
	X(icmp_mtu_taken, "path MTUs lowered by an ICMP error")                                    \
	X(icmp_ignored, "ICMP errors about no virtual connection, and those that may pass")

/* The host at layers 2 and 3 on dedicated ports. */
#define QP_NET_COUNTERS(X)                                                                         \
	X(neighbours, "neighbours known now")                                                      \
	X(held, "packets that wait for a neighbour's address now")                                 \
	X(up, "packets received for TCP, UDP and QUIC")                                            \
	X(out, "packets sent")                                                                     \
	X(arp_in, "ARP packets received")                                                          \
	X(arp_out, "ARP packets sent")                                                             \
	X(nd_in, "neighbour solicitations and advertisements received")                            \
	X(nd_out, "neighbour solicitations and advertisements sent")                               \
	X(routers_heard, "router advertisements taken")                                            \
	X(routers_ignored, "router advertisements not asked for, or not of a router on the link")  \
	X(mld_reports, "reports of our multicast groups sent")                                     \
	X(echo_replies, "echo requests answered")                                                  \
	X(echo_limited, "echo requests not answered: too many this second")                        \
	X(errors_sent, "ICMP errors sent")                                                         \
	X(errors_limited, "ICMP errors not sent: too many this second")                            \
	X(neighbours_made, "neighbours entered")                                                   \
	X(neighbours_evicted, "neighbours forgotten for others")                                   \
	X(neighbours_failed, "neighbours that did not answer")                                     \
	X(neighbours_moved, "neighbours that came with another MAC address")                       \
	X(neighbours_limited, "neighbours not entered: too many this second, or all in use")       \
	X(conflicts, "packets of another host that claims one of our addresses")                   \
	X(duplicates, "IPv6 addresses not used because another host has them, now")                \
	X(replicated, "packets about neighbours copied to the other workers")                      \
	X(replicate_limited, "packets about neighbours not copied: too many this second")          \
	X(learned, "packets about neighbours that other workers received")                         \
	X(drop_mac, "frames to another MAC address")                                               \
	X(drop_vlan, "frames with another VLAN's tag, or without ours")                            \
	X(drop_ethertype, "frames of no protocol that is spoken here")                             \
	X(drop_header, "packets whose headers are cut short or contradict each other")             \
	X(drop_not_local, "packets to an address that is not ours")                                \
	X(drop_many, "packets to all or many that nobody here listens to")                         \
	X(drop_martian, "packets from an address that nobody can have")                            \
	X(drop_spoofed, "packets that claim to come from ourselves")                               \
	X(drop_options, "packets with IPv4 options or IPv6 extension headers that are not taken")  \
	X(drop_protocol, "packets of a transport protocol that is not served")                     \
	X(drop_no_port, "datagrams to a UDP port that nobody is behind")                           \
	X(drop_arp, "ARP packets that are not well-formed or not for us")                          \
	X(drop_icmp, "ICMP packets that are wrong, in pieces, or of no use here")                  \
	X(drop_no_route, "packets to send that no route leads to")                                 \
	X(drop_no_neighbour, "packets to send to a neighbour that was not entered")                \
	X(drop_unresolved, "packets to send whose neighbour did not answer")                       \
	X(drop_held, "packets to send beyond those that may wait for a neighbour")                 \
	X(drop_too_big, "packets to send that are larger than their link takes")                   \
	X(drop_no_memory, "packets not sent for want of mbufs")

/* Steering on dedicated ports: what a worker received and whose it was. */
#define QP_NIC_COUNTERS(X)                                                                         \
	X(quic_known, "QUIC packets received whose connection id names a worker")                  \
	X(quic_new, "QUIC packets received of unknown connections")                                \
	X(port, "packets received for forwarded ports")                                            \
	X(public_api, "packets received for the public API port")                                  \
	X(icmp, "ICMP errors received about the gateway's own packets")                            \
	X(fragment, "IP fragments, beyond the first, of datagrams to forwarded UDP ports")         \
	X(fragment_collected, "IP fragments handed to the worker that collects their datagram")    \
	X(stray, "packets received for ports that nobody has")                                     \
	X(handed_worker, "frames handed to other workers of the generation")                       \
	X(handed_generation, "frames handed to other generations")                                 \
	X(taken, "frames taken over from other workers and generations")                           \
	X(learn_copies, "copies of packets about neighbours handed to other workers")              \
	X(queues, "receive queues that are polled now")                                            \
	X(naps, "times that the worker slept with nothing to wake it but its doorbell")            \
	X(doorbells, "naps of other workers ended because a frame was handed to them")             \
	X(drop_not_ip, "packets received that are cut off before their ports")                     \
	X(drop_blocked, "packets received from sources that are kept out")                         \
	X(drop_no_worker, "packets received while no worker takes them")                           \
	X(drop_not_bound, "packets received for the QUIC or API port at another address")          \
	X(drop_fragment, "IP fragments received whose datagram's first one is not known")          \
	X(drop_handoff_full, "frames dropped because the worker that they belong to was behind")   \
	X(drop_syn, "TCP connection attempts dropped: too many waited")                            \
	X(drop_again, "second attempts of strangers dropped: too many waited")                     \
	X(drop_unknown, "QUIC of no known connection and ICMP dropped: too much waited")           \
	X(drop_no_memory, "copies not made for want of mbufs")                                     \
	X(drop_copy, "copies dropped because the worker that was to learn was behind")

#endif
