// SPDX-License-Identifier: GPL-2.0
/*
 * Opens the window of a race: the first task that gets to a function waits at its
 * entry until it is let go, or for ten seconds. It must be a function in which a
 * task may sleep.
 *
 *   insmod window.ko
 *   echo NAME >/sys/module/window/parameters/function
 *   cat /sys/module/window/parameters/waiting	1 while the task waits
 *   echo 1 >/sys/module/window/parameters/go
 *   cat /sys/module/window/parameters/hits	calls of the function
 *
 * For the debug kernel on x86-64, and for one window at a time; it stays loaded.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/string.h>

#define LIMIT	(10 * HZ)

static char name[128];
static int waiting;
static bool go;
/* How often the function was called since then. */
static int hits;
/* The task that waits, or has waited; compared, and not used. */
static struct task_struct *taken;
/* It has come back to the function. */
static bool passed;

/* Where it goes back to: the probe is still there, and lets it pass. */
unsigned long window_back;
void window_wait(void);
void window_trampoline(void);

void window_wait(void)
{
	unsigned long end = jiffies + LIMIT;

	WRITE_ONCE(waiting, 1);
	while (!READ_ONCE(go) && time_before(jiffies, end))
		msleep(10);
	WRITE_ONCE(waiting, 0);
}

/* As if the function had called it first: its arguments are kept. */
asm(".pushsection .text\n"
    ".globl window_trampoline\n"
    ".type window_trampoline, @function\n"
    "window_trampoline:\n"
    "	pushq %rax\n"
    "	pushq %rcx\n"
    "	pushq %rdx\n"
    "	pushq %rsi\n"
    "	pushq %rdi\n"
    "	pushq %r8\n"
    "	pushq %r9\n"
    "	pushq %r10\n"
    "	pushq %r11\n"
    "	call window_wait\n"
    "	popq %r11\n"
    "	popq %r10\n"
    "	popq %r9\n"
    "	popq %r8\n"
    "	popq %rdi\n"
    "	popq %rsi\n"
    "	popq %rdx\n"
    "	popq %rcx\n"
    "	popq %rax\n"
    "	jmp *window_back(%rip)\n"
    ".size window_trampoline, . - window_trampoline\n"
    ".popsection\n");

static int window_enter(struct kprobe *p, struct pt_regs *regs)
{
	if (READ_ONCE(taken) == current && !READ_ONCE(passed)) {
		WRITE_ONCE(passed, true);
		return 0;
	}
	WRITE_ONCE(hits, hits + 1);
	if (cmpxchg(&taken, NULL, current))
		return 0;
	window_back = (unsigned long)p->addr;
	instruction_pointer_set(regs, (unsigned long)window_trampoline);
	return 1;
}

/* A probe that has one is not turned into a jump, which could not be redirected. */
static void window_after(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe probe;
static DEFINE_MUTEX(lock);

static int set_function(const char *val, const struct kernel_param *kp)
{
	int ret = 0;

	mutex_lock(&lock);
	if (name[0])
		unregister_kprobe(&probe);
	/* A task that waits goes on to where the probe was. */
	strscpy(name, val);
	strim(name);
	taken = NULL;
	hits = 0;
	passed = go = false;
	if (name[0]) {
		memset(&probe, 0, sizeof(probe));
		probe.symbol_name = name;
		probe.pre_handler = window_enter;
		probe.post_handler = window_after;
		ret = register_kprobe(&probe);
		if (ret)
			name[0] = '\0';
	}
	mutex_unlock(&lock);
	return ret;
}

static int get_function(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", name);
}

static const struct kernel_param_ops function_ops = {
	.set = set_function,
	.get = get_function,
};
module_param_cb(function, &function_ops, NULL, 0644);
module_param(waiting, int, 0444);
module_param(hits, int, 0444);
module_param(go, bool, 0644);

static int __init window_init(void)
{
	return 0;
}
module_init(window_init);

/* It taints nothing: scenes look for that. */
MODULE_INFO(intree, "Y");
MODULE_DESCRIPTION("Opens the window of a race");
MODULE_LICENSE("GPL");
