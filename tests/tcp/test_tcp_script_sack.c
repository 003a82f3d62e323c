/* SPDX-License-Identifier: Apache-2.0 */
/* Selective acknowledgment, sent and used: RFC 2018, 2883, 6675, 8985. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_sack, .init = script_suite_start);

/* RFC 2883, 4: what is double in a waiting block is followed by that block. */
Test(tcp_sack, established_text_twice_in_a_waiting_block_is_followed_by_that_block)
{
	ESTABLISHED();
	IN("A 1001+1000 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1001-2001");
	IN("A 3001+500 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 3001-3501 sack 1001-2001");
	IN("A 5001+500 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 5001-5501 sack 3001-3501 sack 1001-2001");
	IN("A 1201+300 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1201-1501 sack 1001-2001 sack 5001-5501");
	CLOSE();
}
