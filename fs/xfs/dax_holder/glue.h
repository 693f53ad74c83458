/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface between XFS's C and the DAX holder, which is in Rust.
 *
 * bindgen reads this header for all kernel crates.  It includes no header of
 * XFS: types are opaque here, and macros and inline functions are wrapped.
 */
#ifndef __XFS_DAX_HOLDER_GLUE_H__
#define __XFS_DAX_HOLDER_GLUE_H__

#include <linux/types.h>

struct address_space;
struct dax_device;
struct inode;
struct super_block;
struct xfs_buf;
struct xfs_dax_holder;
struct xfs_group;
struct xfs_mount;
struct xfs_perag;
struct xfs_trans;

#ifdef CONFIG_XFS_DAX_HOLDER_RUST

/* Parts of the on-disk format that Rust code knows: see glue_group.c. */
#define XFS_RUST_BBSHIFT		9
#define XFS_RUST_RMAP_OWN_FS		(-3)
#define XFS_RUST_RMAP_OWN_LOG		(-4)
#define XFS_RUST_RMAP_OWN_AG		(-5)
#define XFS_RUST_RMAP_OWN_COW		(-9)
#define XFS_RUST_RMAP_NON_INODE_BIT	63

/* One of a mount's devices. */
enum xfs_rust_device {
	XFS_RUST_DATA,
	XFS_RUST_LOG,		/* external log only */
	XFS_RUST_RT,
};

/* Where a device lies, and how its blocks are divided into groups. */
struct xfs_rust_target {
	struct dax_device	*dax_dev;
	void			*claim;		/* holder until we register */
	u64			offset;		/* of sector 0, in bytes */
	u64			first;		/* first sector */
	u64			end;		/* sector after the last one */
	bool			section;	/* of the data device */

	u32			group_blocks;	/* 0: no reverse mapping */
	u32			block_shift;	/* log2 of bytes per block */
	u64			group_first;	/* block of the first group */
	u64			group_stride;	/* blocks from group to group */
};

/* struct xfs_rmap_irec */
struct xfs_rust_rmap {
	u64			owner;
	u64			offset;		/* in the file, in blocks */
	u32			start;		/* in the group, in blocks */
	u32			count;		/* of blocks */
	bool			attr_fork;
	bool			bmbt_block;
	bool			unwritten;
};

/* Bytes of a file that are contiguous on a device. */
struct xfs_rust_extent {
	u64			sector;		/* U64_MAX: no written data */
	u64			bytes;
};

/* XFS's log level of a message. */
enum xfs_rust_level {
	XFS_RUST_ALERT,
	XFS_RUST_WARN,
	XFS_RUST_INFO,
};

/* A locked group. */
struct xfs_rust_group {
	struct xfs_group	*xg;
	struct xfs_trans	*tp;
	struct xfs_buf		*agf_bp;	/* NULL: a realtime group */
	u32			blocks;		/* of the group */
	bool			alloc;		/* allocation is locked too */
};

/* The files in /sys/fs/xfs/<dev>/dax. */
enum xfs_dax_count {
	XFS_DAX_POISONED,	/* blocks that were reported as failed */
	XFS_DAX_REPAIRED,	/* blocks without data that were cleared */
	XFS_DAX_HEALED,		/* metadata blocks that were written anew */
	XFS_DAX_STUCK,		/* blocks that could not be cleared */
	XFS_DAX_PENDING,	/* jobs that are queued for the worker */
};

/* A decision about bytes that hold no file's data, for trace_xfs_dax_repair(). */
enum xfs_dax_repair_step {
	XFS_DAX_STEP_QUEUED,	/* for the worker */
	XFS_DAX_STEP_PROVEN,	/* to hold no data */
	XFS_DAX_STEP_CLEARED,	/* they hold zeroes, and no error */
	XFS_DAX_STEP_HEALED,	/* they hold what they held, and no error */
	XFS_DAX_STEP_RETRY,	/* not proven to hold no data yet */
	XFS_DAX_STEP_OWNED,	/* by a file or by metadata */
	XFS_DAX_STEP_STUCK,	/* they could not be cleared */
};

/* Returns 0 to go on, or -ECANCELED to end the query.  The group is locked. */
typedef int (*xfs_rust_rmap_fn)(const struct xfs_rust_rmap *rec, void *data);

/* glue_mount.c */
void xfs_rust_init(struct xfs_mount *mp);
struct super_block *xfs_rust_super(struct xfs_mount *mp);
bool xfs_rust_has_dax(struct xfs_mount *mp);
bool xfs_rust_get_target(struct xfs_mount *mp, enum xfs_rust_device dev,
		struct xfs_rust_target *target);
bool xfs_rust_is_shutdown(struct xfs_mount *mp);
bool xfs_rust_is_writable(struct xfs_mount *mp);
void xfs_rust_set_bad(struct xfs_mount *mp, bool bad);
bool xfs_rust_is_bad(struct xfs_mount *mp);
void xfs_rust_message(struct xfs_mount *mp, enum xfs_rust_level level,
		const char *text);
void xfs_rust_report_media(struct xfs_mount *mp, enum xfs_rust_device dev,
		u64 sector, u64 sectors);
void xfs_rust_report_cleared(struct xfs_mount *mp, enum xfs_rust_device dev,
		u64 sector, u64 sectors);
void xfs_rust_force_log(struct xfs_mount *mp);
void xfs_rust_cancel_staging(struct xfs_mount *mp);
void xfs_dax_device_removed(struct xfs_mount *mp, bool can_write);

bool xfs_rust_find_bad(struct xfs_mount *mp, enum xfs_rust_device dev,
		u64 *sector, u64 *sectors);
int xfs_rust_zero(struct xfs_mount *mp, enum xfs_rust_device dev, u64 sector,
		u64 sectors);
int xfs_rust_flush(struct xfs_mount *mp, enum xfs_rust_device dev);

/* glue_group.c */
int xfs_rust_lock_group(struct xfs_mount *mp, enum xfs_rust_device dev, u32 gno,
		bool alloc, struct xfs_rust_group *group);
void xfs_rust_unlock_group(struct xfs_rust_group *group);
int xfs_rust_query_rmap(const struct xfs_rust_group *group, u32 first, u32 last,
		xfs_rust_rmap_fn fn, void *data);
int xfs_rust_is_free(const struct xfs_rust_group *group, u32 first, u32 count);
int xfs_rust_on_free_list(const struct xfs_rust_group *group, u32 block);
bool xfs_rust_mark_group_sick(struct xfs_mount *mp, enum xfs_rust_device dev,
		u32 gno, u64 owner, u64 sector, u64 sectors);
void xfs_rust_freed(struct xfs_group *xg, u32 first, u32 count);

/* glue_heal.c */
u32 xfs_rust_header_blocks(struct xfs_mount *mp);
int xfs_rust_heal(struct xfs_mount *mp, enum xfs_rust_device dev, bool headers,
		u64 sector, u64 *sectors);
int xfs_rust_heal_log(struct xfs_mount *mp, enum xfs_rust_device dev,
		u64 sector, u64 sectors);

/* glue_inode.c */
int xfs_rust_iget(struct xfs_mount *mp, u64 ino, bool incore,
		struct inode **inodep);
void xfs_rust_irele(struct inode *inode);
struct address_space *xfs_rust_mapping(struct inode *inode);
int xfs_rust_map(struct inode *inode, enum xfs_rust_device dev, loff_t pos,
		u64 len, struct xfs_rust_extent *ext);
bool xfs_rust_holds_metadata(struct inode *inode);
int xfs_rust_lock_data(struct inode *inode, loff_t pos, u64 len);
void xfs_rust_unlock_data(struct inode *inode);
void xfs_rust_report_lost(struct inode *inode, loff_t pos, u64 len);
void xfs_rust_mark_inode_sick(struct xfs_mount *mp, u64 ino, bool attr_fork,
		bool bmbt_block);
bool xfs_rust_may_be_mapped(struct xfs_mount *mp, u64 ino,
		struct xfs_perag **pagp);
bool xfs_rust_is_cached(struct xfs_mount *mp, u64 ino, u64 pos, u64 *len,
		struct xfs_perag **pagp);
void xfs_rust_perag_put(struct xfs_perag *pag);

/* exports.rs, in Rust */
struct xfs_dax_holder *xfs_dax_holder_register(struct xfs_mount *mp);
void xfs_dax_holder_start(struct xfs_dax_holder *holder);
void xfs_dax_holder_suspend(struct xfs_dax_holder *holder);
void xfs_dax_holder_resume(struct xfs_dax_holder *holder);
void xfs_dax_holder_rescan(struct xfs_dax_holder *holder);
void xfs_dax_holder_freed(struct xfs_dax_holder *holder,
		enum xfs_rust_device dev, u32 gno, u32 first, u32 count);
u64 xfs_dax_holder_count(struct xfs_dax_holder *holder,
		enum xfs_dax_count which);
void xfs_dax_holder_unregister(struct xfs_dax_holder *holder);
void xfs_dax_holder_free(struct xfs_dax_holder *holder);

#else

static inline struct xfs_dax_holder *
xfs_dax_holder_register(struct xfs_mount *mp)
{
	return NULL;
}

static inline void xfs_dax_holder_start(struct xfs_dax_holder *holder) {}
static inline void xfs_dax_holder_suspend(struct xfs_dax_holder *holder) {}
static inline void xfs_dax_holder_resume(struct xfs_dax_holder *holder) {}
static inline void xfs_dax_holder_rescan(struct xfs_dax_holder *holder) {}
static inline void xfs_dax_holder_unregister(struct xfs_dax_holder *holder) {}
static inline void xfs_dax_holder_free(struct xfs_dax_holder *holder) {}
static inline void xfs_rust_freed(struct xfs_group *xg, u32 first, u32 count) {}

#endif /* CONFIG_XFS_DAX_HOLDER_RUST */

#endif /* __XFS_DAX_HOLDER_GLUE_H__ */
