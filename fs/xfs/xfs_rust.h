/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust code in fs/xfs sees of XFS's C, and the other way round.
 *
 * Rust's bindgen reads this header for every kernel crate, so it is narrow and
 * stands on its own: opaque types, and functions for what are macros and
 * inlines elsewhere.
 */
#ifndef __XFS_RUST_H__
#define __XFS_RUST_H__

#include <linux/types.h>

struct address_space;
struct dax_device;
struct inode;
struct list_head;
struct super_block;
struct xfs_buf;
struct xfs_group;
struct xfs_mount;
struct xfs_perag;
struct xfs_trans;

#ifdef CONFIG_XFS_DAX_HOLDER_RUST

/* One of a mount's devices: its struct xfs_buftarg. */
enum xfs_rust_device {
	XFS_RUST_DATA,
	XFS_RUST_LOG,		/* only if it is external */
	XFS_RUST_RT,
};

struct xfs_rust_target {
	struct dax_device	*dax_dev;
	u64			offset;		/* on dax_dev, in bytes */
	u64			first;		/* sectors of 512 bytes from there */
	u64			end;
	bool			section;	/* of the data device */
};

/* How the blocks of a device are dealt out to groups: struct xfs_groups. */
struct xfs_rust_geometry {
	u64			first;		/* block of the first group */
	u64			stride;		/* blocks from group to group */
	u32			blocks;		/* that a group has at most */
	u32			block_shift;	/* log2 of a block's bytes */
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

/* What of a file lies in one piece on a device. */
struct xfs_rust_extent {
	u64			sector;		/* U64_MAX: no written data */
	u64			bytes;
};

/* How urgent a message is. */
enum xfs_rust_level {
	XFS_RUST_ALERT,
	XFS_RUST_WARN,
	XFS_RUST_INFO,
};

/* A group that is locked. */
struct xfs_rust_group {
	struct xfs_group	*xg;
	struct xfs_trans	*tp;
	struct xfs_buf		*agf_bp;	/* NULL for a realtime group */
	u32			blocks;		/* of the group */
	bool			write;
};

/* Numbers of blocks, since the mount, and of things to do. */
enum xfs_dax_count {
	XFS_DAX_POISONED,	/* reported as failed */
	XFS_DAX_REPAIRED,	/* held no data, and were cleared */
	XFS_DAX_STUCK,		/* held no data, and could not be cleared */
	XFS_DAX_PENDING,	/* ranges and reports to be worked on */
};

/* Return 0 to go on, -ECANCELED to end the query. Runs under the group's lock. */
typedef int (*xfs_rust_rmap_fn)(const struct xfs_rust_rmap *rec, void *data);

void xfs_rust_init(struct xfs_mount *mp);
void xfs_rust_message(struct xfs_mount *mp, enum xfs_rust_level level,
		      const char *text);
void xfs_rust_set_bad(struct xfs_mount *mp, bool bad);
bool xfs_rust_is_bad(struct xfs_mount *mp);
bool xfs_rust_has_dax(struct xfs_mount *mp);
struct super_block *xfs_rust_super(struct xfs_mount *mp);
bool xfs_rust_get_target(struct xfs_mount *mp, enum xfs_rust_device dev,
			 struct xfs_rust_target *target);
int xfs_rust_get_geometry(struct xfs_mount *mp, enum xfs_rust_device dev,
			  struct xfs_rust_geometry *geo);
bool xfs_rust_is_writable(struct xfs_mount *mp);
int xfs_rust_lock_group(struct xfs_mount *mp, enum xfs_rust_device dev, u32 gno,
			bool write, struct xfs_rust_group *group);
void xfs_rust_unlock_group(struct xfs_rust_group *group);
int xfs_rust_query_rmap(const struct xfs_rust_group *group, u32 first, u32 last,
			xfs_rust_rmap_fn fn, void *data);
int xfs_rust_is_free(const struct xfs_rust_group *group, u32 first, u32 count);
bool xfs_rust_find_bad(struct xfs_mount *mp, enum xfs_rust_device dev,
		       u64 *sector, u64 *sectors);
int xfs_rust_zero(struct xfs_mount *mp, enum xfs_rust_device dev, u64 sector,
		  u64 sectors);
int xfs_rust_flush(struct xfs_mount *mp, enum xfs_rust_device dev);
void xfs_rust_force_log(struct xfs_mount *mp);
void xfs_rust_cancel_staging(struct xfs_mount *mp);
void xfs_rust_freed(struct xfs_group *xg, u32 first, u32 count);
int xfs_rust_iget(struct xfs_mount *mp, u64 ino, bool incore,
		  struct inode **inodep);
int xfs_rust_map(struct inode *inode, enum xfs_rust_device dev, loff_t pos,
		 u64 len, struct xfs_rust_extent *ext);
int xfs_rust_lock_data(struct inode *inode, loff_t pos, u64 len);
void xfs_rust_unlock_data(struct inode *inode);
bool xfs_rust_may_be_mapped(struct xfs_mount *mp, u64 ino,
			    struct xfs_perag **pagp);
bool xfs_rust_is_cached(struct xfs_mount *mp, u64 ino, u64 pos, u64 *len,
			struct xfs_perag **pagp);
void xfs_rust_perag_put(struct xfs_perag *pag);
void xfs_rust_irele(struct inode *inode);
struct address_space *xfs_rust_dax_mapping(struct inode *inode);
struct inode *xfs_rust_next_mapped(struct xfs_mount *mp, struct inode *prev);
u64 xfs_rust_ino(struct inode *inode);
void xfs_rust_detach_all(struct xfs_mount *mp);
void xfs_rust_mark_sick(struct xfs_mount *mp, enum xfs_rust_device dev, u32 gno,
			const struct xfs_rust_rmap *rec, u64 sector,
			u64 sectors);
void xfs_rust_report_lost(struct inode *inode, loff_t pos, u64 len);
void xfs_rust_report_media(struct xfs_mount *mp, enum xfs_rust_device dev,
			   u64 sector, u64 sectors);
void xfs_rust_report_cleared(struct xfs_mount *mp, enum xfs_rust_device dev,
			     u64 sector, u64 sectors);
void xfs_rust_trace_event(struct xfs_mount *mp, enum xfs_rust_device dev,
			  u64 offset, u64 len, u32 mf_flags);
void xfs_rust_trace_owner(struct xfs_mount *mp, u64 ino, u64 pos, u64 len);
void xfs_rust_trace_repair(struct xfs_mount *mp, enum xfs_rust_device dev,
			   u64 offset, u64 len, u32 step);
bool xfs_rust_is_shutdown(struct xfs_mount *mp);
int xfs_dax_metadata_failed(struct xfs_mount *mp);
int xfs_dax_device_removed(struct xfs_mount *mp);

/* In Rust: */
void *xfs_dax_holder_register(struct xfs_mount *mp);
void xfs_dax_holder_start(void *holder);
void xfs_dax_holder_stop(void *holder);
void xfs_dax_holder_resume(void *holder);
void xfs_dax_holder_look_again(void *holder);
void xfs_dax_holder_freed(void *holder, enum xfs_rust_device dev, u32 gno,
			  u32 first, u32 count);
u64 xfs_dax_holder_count(void *holder, enum xfs_dax_count which);
void xfs_dax_holder_unregister(void *holder);
void xfs_dax_holder_free(void *holder);

#else

static inline void xfs_rust_freed(struct xfs_group *xg, u32 first, u32 count)
{
}

static inline void *xfs_dax_holder_register(struct xfs_mount *mp)
{
	return NULL;
}

static inline void xfs_dax_holder_start(void *holder)
{
}

static inline void xfs_dax_holder_stop(void *holder)
{
}

static inline void xfs_dax_holder_resume(void *holder)
{
}

static inline void xfs_dax_holder_look_again(void *holder)
{
}

static inline void xfs_dax_holder_unregister(void *holder)
{
}

static inline void xfs_dax_holder_free(void *holder)
{
}

#endif /* CONFIG_XFS_DAX_HOLDER_RUST */

#endif /* __XFS_RUST_H__ */
