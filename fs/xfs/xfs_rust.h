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
struct super_block;
struct xfs_mount;
struct xfs_perag;

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
	u64			sectors;	/* of 512 bytes */
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
};

/* Return 0 to go on, -ECANCELED to end the query. Runs under the group's lock. */
typedef int (*xfs_rust_rmap_fn)(const struct xfs_rust_rmap *rec, void *data);

struct super_block *xfs_rust_super(struct xfs_mount *mp);
bool xfs_rust_get_target(struct xfs_mount *mp, enum xfs_rust_device dev,
			 struct xfs_rust_target *target);
int xfs_rust_get_geometry(struct xfs_mount *mp, enum xfs_rust_device dev,
			  struct xfs_rust_geometry *geo);
int xfs_rust_query_rmap(struct xfs_mount *mp, enum xfs_rust_device dev,
			u32 gno, u32 first, u32 last, xfs_rust_rmap_fn fn,
			void *data, u32 *group_blocks);
int xfs_rust_iget_incore(struct xfs_mount *mp, u64 ino, struct inode **inodep);
bool xfs_rust_may_be_mapped(struct xfs_mount *mp, u64 ino,
			    struct xfs_perag **pagp);
void xfs_rust_perag_put(struct xfs_perag *pag);
void xfs_rust_irele(struct inode *inode);
struct address_space *xfs_rust_dax_mapping(struct inode *inode);
void xfs_rust_detach_all(struct xfs_mount *mp);
void xfs_rust_report_lost(struct inode *inode, loff_t pos, u64 len);
void xfs_rust_report_media(struct xfs_mount *mp, enum xfs_rust_device dev,
			   u64 sector, u64 sectors);
void xfs_rust_shutdown_corrupt(struct xfs_mount *mp);
void xfs_rust_shutdown_umount(struct xfs_mount *mp);

/* In Rust: */
void *xfs_dax_holder_register(struct xfs_mount *mp);
void xfs_dax_holder_unregister(void *holder);

#else

static inline void *xfs_dax_holder_register(struct xfs_mount *mp)
{
	return NULL;
}

static inline void xfs_dax_holder_unregister(void *holder)
{
}

#endif /* CONFIG_XFS_DAX_HOLDER_RUST */

#endif /* __XFS_RUST_H__ */
