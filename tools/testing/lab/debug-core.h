/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Included before arch/x86/kernel/cpu/mce/core.c in the debug kernel: a machine
 * check does not switch lockdep off, as scenes are full of them.
 */
#include <linux/panic.h>
#define LOCKDEP_NOW_UNRELIABLE	LOCKDEP_STILL_OK
