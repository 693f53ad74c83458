/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the C parts of the DAX holder share.
 */
#ifndef __XFS_DAX_HOLDER_GLUE_PRIV_H__
#define __XFS_DAX_HOLDER_GLUE_PRIV_H__

static inline struct xfs_buftarg *
xfs_rust_buftarg(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev)
{
	if (dev == XFS_RUST_LOG)
		return mp->m_logdev_targp;
	if (dev == XFS_RUST_RT)
		return mp->m_rtdev_targp;
	return mp->m_ddev_targp;
}

static inline enum xfs_group_type
xfs_rust_group_type(
	enum xfs_rust_device		dev)
{
	return dev == XFS_RUST_RT ? XG_TYPE_RTG : XG_TYPE_AG;
}

static inline bool
xfs_rust_has_rmap(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev)
{
	if (dev == XFS_RUST_LOG)
		return false;
	return dev == XFS_RUST_RT ? xfs_has_rtrmapbt(mp) : xfs_has_rmapbt(mp);
}

#endif /* __XFS_DAX_HOLDER_GLUE_PRIV_H__ */
