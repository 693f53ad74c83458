/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dm.c and dax_holder/, which is in Rust, know of one another.
 */
#ifndef DM_DAX_H
#define DM_DAX_H

#include <linux/device-mapper.h>
#include <linux/refcount.h>

/**
 * struct table_device - a device that tables of a mapped device map to
 * @list: entry of mapped_device->table_devices
 * @count: tables that map to the device
 * @dm_dev: the device, as targets see it
 * @md: the mapped device
 * @is_holder: it is the holder of its memory, with dm_dax_holder_ops
 */
struct table_device {
	struct list_head list;
	refcount_t count;
	struct dm_dev dm_dev;
	struct mapped_device *md;
	bool is_holder;
};

void dm_dax_iterate_devices(struct table_device *td,
			    iterate_devices_callout_fn fn, void *data);
struct dax_device *dm_dax_device(struct table_device *td);
bool dm_dax_blocks_io(struct table_device *td);
void dm_dax_mark_dead(struct table_device *td);

/* In Rust, dax_holder/dm_dax_holder.rs */
int dm_dax_notify_failure(struct dax_device *dax_dev, void *td, u64 offset,
			  u64 len, int mf_flags);
bool dm_dax_is_held(struct dax_device *dax_dev, void *td, u64 offset,
		    u64 *len);

#endif
