/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace events of the DAX holder, which Rust code emits.
 *
 * bindgen reads this header, so it is not part of xfs_trace.h.  The units are
 * those of xfs_trace.h; none of these tracepoints is a stable kernel ABI.
 */
#undef TRACE_SYSTEM
#undef TRACE_INCLUDE_FILE
#undef TRACE_INCLUDE_PATH
#define TRACE_SYSTEM xfs
#define TRACE_INCLUDE_FILE trace
#define TRACE_INCLUDE_PATH dax_holder

#if !defined(_TRACE_XFS_DAX_HOLDER_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_XFS_DAX_HOLDER_H

#include <linux/tracepoint.h>
#include "glue.h"

TRACE_DEFINE_ENUM(XFS_RUST_DATA);
TRACE_DEFINE_ENUM(XFS_RUST_RT);
TRACE_DEFINE_ENUM(XFS_RUST_LOG);

TRACE_DEFINE_ENUM(XFS_DAX_STEP_QUEUED);
TRACE_DEFINE_ENUM(XFS_DAX_STEP_PROVEN);
TRACE_DEFINE_ENUM(XFS_DAX_STEP_CLEARED);
TRACE_DEFINE_ENUM(XFS_DAX_STEP_HEALED);
TRACE_DEFINE_ENUM(XFS_DAX_STEP_RETRY);
TRACE_DEFINE_ENUM(XFS_DAX_STEP_OWNED);
TRACE_DEFINE_ENUM(XFS_DAX_STEP_STUCK);

TRACE_EVENT(xfs_dax_event,
	TP_PROTO(struct xfs_mount *mp, enum xfs_rust_device fdev, u64 offset,
		 u64 len, unsigned int mf_flags),
	TP_ARGS(mp, fdev, offset, len, mf_flags),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(unsigned int, fdev)
		__field(u64, offset)
		__field(u64, len)
		__field(unsigned int, mf_flags)
	),
	TP_fast_assign(
		__entry->dev = mp->m_super->s_dev;
		__entry->fdev = fdev;
		__entry->offset = offset;
		__entry->len = len;
		__entry->mf_flags = mf_flags;
	),
	TP_printk("dev %d:%d %s offset 0x%llx bytecount 0x%llx mf_flags 0x%x",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __print_symbolic(__entry->fdev,
				   { XFS_RUST_DATA,		"datadev" },
				   { XFS_RUST_RT,		"rtdev" },
				   { XFS_RUST_LOG,		"logdev" }),
		  __entry->offset,
		  __entry->len,
		  __entry->mf_flags)
);

TRACE_EVENT(xfs_dax_owner,
	TP_PROTO(struct xfs_mount *mp, u64 ino, u64 pos, u64 len),
	TP_ARGS(mp, ino, pos, len),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(u64, pos)
		__field(u64, len)
	),
	TP_fast_assign(
		__entry->dev = mp->m_super->s_dev;
		__entry->ino = ino;
		__entry->pos = pos;
		__entry->len = len;
	),
	TP_printk("dev %d:%d ino 0x%llx pos 0x%llx bytecount 0x%llx",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->ino,
		  __entry->pos,
		  __entry->len)
);

TRACE_EVENT(xfs_dax_repair,
	TP_PROTO(struct xfs_mount *mp, enum xfs_rust_device fdev, u64 offset,
		 u64 len, enum xfs_dax_repair_step step),
	TP_ARGS(mp, fdev, offset, len, step),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(unsigned int, fdev)
		__field(u64, offset)
		__field(u64, len)
		__field(unsigned int, step)
	),
	TP_fast_assign(
		__entry->dev = mp->m_super->s_dev;
		__entry->fdev = fdev;
		__entry->offset = offset;
		__entry->len = len;
		__entry->step = step;
	),
	TP_printk("dev %d:%d %s offset 0x%llx bytecount 0x%llx %s",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  __print_symbolic(__entry->fdev,
				   { XFS_RUST_DATA,		"datadev" },
				   { XFS_RUST_RT,		"rtdev" },
				   { XFS_RUST_LOG,		"logdev" }),
		  __entry->offset,
		  __entry->len,
		  __print_symbolic(__entry->step,
				   { XFS_DAX_STEP_QUEUED,	"queued" },
				   { XFS_DAX_STEP_PROVEN,	"proven" },
				   { XFS_DAX_STEP_CLEARED,	"cleared" },
				   { XFS_DAX_STEP_HEALED,	"healed" },
				   { XFS_DAX_STEP_RETRY,	"retry" },
				   { XFS_DAX_STEP_OWNED,	"owned" },
				   { XFS_DAX_STEP_STUCK,	"stuck" }))
);

#endif /* _TRACE_XFS_DAX_HOLDER_H */

/* This part must be outside protection. */
#include <trace/define_trace.h>
