// SPDX-License-Identifier: GPL-2.0
/*
 * Trace events of the DAX holder: xfs/trace.rs.
 */
#include "xfs_platform.h"
#include "xfs_shared.h"
#include "xfs_format.h"
#include "xfs_log_format.h"
#include "xfs_trans_resv.h"
#include "xfs_mount.h"

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "dax_holder/trace.h"
