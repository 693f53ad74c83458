/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __XFS_RMAP_WALK_H__
#define __XFS_RMAP_WALK_H__

/*
 * Called for each owner of a range, with the part of its record that lies in
 * the range. No lock is held, so the owner may not have the blocks any more.
 */
typedef void (*xfs_rmap_walk_fn)(
	struct xfs_group		*xg,
	const struct xfs_rmap_irec	*rec,
	void				*priv);

int xfs_rmap_walk_owners(struct xfs_mount *mp, enum xfs_group_type type,
		xfs_daddr_t daddr, uint64_t bblen, xfs_rmap_walk_fn fn,
		void *priv);

#endif /* __XFS_RMAP_WALK_H__ */
