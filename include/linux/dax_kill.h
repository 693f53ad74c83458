/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Revoke DAX memory that failed from all files that own it, and signal the
 * processes that map it: mm/dax_kill.
 *
 * Rust's bindgen reads this header.
 */
#ifndef _LINUX_DAX_KILL_H
#define _LINUX_DAX_KILL_H

#include <linux/errno.h>
#include <linux/types.h>

struct address_space;
struct task_struct;
struct vm_area_struct;

/* For dax_kill_collect(): whatever page frames the file has there. */
#define DAX_KILL_ANY_PFN	(~0UL)
/* The address of a page that has none in a VMA, as __vma_address() returns it. */
#define DAX_KILL_NO_ADDRESS	(-EFAULT)

/**
 * struct dax_kill_list - processes to signal because of a memory failure
 * @opaque: private to mm/dax_kill
 *
 * May be moved. Is used by one task at a time.
 */
struct dax_kill_list {
	unsigned long opaque[5];
};

/* In Rust, mm/dax_kill/dax_kill.rs */
void dax_kill_init(struct dax_kill_list *list, int mf_flags);
int dax_kill_collect(struct dax_kill_list *list, struct address_space *mapping,
		     pgoff_t index, unsigned long count, unsigned long pfn);
void dax_kill_procs(struct dax_kill_list *list);

/* In C, mm/memory-failure.c, for mm/dax_kill */
int mf_dax_mapping_shift(struct vm_area_struct *vma, pgoff_t index,
			 unsigned long pfn, unsigned long *address);
struct task_struct *mf_dax_find_thread(struct task_struct *tsk, bool early);
struct task_struct *mf_dax_next_leader(pid_t *id);
int mf_dax_kill_proc(struct task_struct *tsk, unsigned long address,
		     short shift, int mf_flags);
void mf_dax_print_kill(struct task_struct *tsk, unsigned long pfn,
		       unsigned long address, int ret);

#endif /* _LINUX_DAX_KILL_H */
