/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The processes that map DAX memory which failed: its owners' mappings are
 * taken away, and they are signalled.
 *
 * Rust's bindgen reads this header.
 */
#ifndef _LINUX_DAX_OWNERS_H
#define _LINUX_DAX_OWNERS_H

#include <linux/types.h>

struct address_space;
struct task_struct;
struct vm_area_struct;

/* Any page frame, in the place of the one that failed. */
#define DAX_NOTICE_ANY_PFN	(~0UL)

/**
 * struct dax_notice - a failure, and the processes still to be signalled for it
 * @opaque: known to mm/dax_owners.rs
 *
 * May be moved, and is used by one task at a time.
 */
struct dax_notice {
	unsigned long opaque[5];
};

/* In Rust, mm/dax_owners.rs */
void dax_notice_begin(struct dax_notice *notice, int mf_flags);
int dax_notice_owner(struct dax_notice *notice, struct address_space *mapping,
		     pgoff_t index, unsigned long count, unsigned long pfn);
void dax_notice_end(struct dax_notice *notice);

/* In C, mm/memory-failure.c, for mm/dax_owners.rs */
int mf_dax_mapping_shift(struct vm_area_struct *vma, pgoff_t index,
			 unsigned long pfn, unsigned long *address);
struct task_struct *mf_dax_thread(struct task_struct *tsk, bool early);
struct task_struct *mf_dax_next_process(pid_t *id);
int mf_dax_signal(struct task_struct *tsk, unsigned long address, short shift,
		  int mf_flags);
void mf_dax_print_signal(struct task_struct *tsk, unsigned long pfn,
			 unsigned long address, int ret);

#endif /* _LINUX_DAX_OWNERS_H */
