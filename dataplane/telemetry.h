/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TELEMETRY_H
#define QP_DATAPLANE_TELEMETRY_H

/*
 * The counters of all data planes as endpoints of DPDK's telemetry, which
 * dpdk-telemetry.py reads. In the port owner, since telemetry runs in EAL's
 * primary alone: /quicport/data_planes; /quicport/info,DP_ID; and
 * /quicport/{worker,tcp,udp,drops,rtt},DP_ID,WORKER (dp_id as 0x3039). EAL's
 * telemetry thread answers, from the generations' shared blocks, with relaxed
 * loads. Main thread, once. Non-zero: an endpoint could not be made.
 */
int qp_telemetry_register(void);

#endif
