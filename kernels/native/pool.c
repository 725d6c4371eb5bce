/* A pool of threads: every thread begins with its own share of the tasks, and helps the others when it is done.

   Jobs with the same number of tasks have the same shares. So a thread tends to read in one kernel what it wrote itself in
   the kernel before, such as the same images. Reading what another core has written takes several times as long on
   processors whose cores do not share a third-level cache.

   Why not OpenMP: starting a parallel loop costs a third of a microsecond here and a whole one with OpenMP. If the threads
   are asleep it costs 25 to 100 microseconds here, and milliseconds with OpenMP. OpenMP's threads do not survive fork(), and
   the kernels would have to share them with PyTorch.

   A worker without tasks first spins (it looks SPINS times whether the number of the last job has changed) and then sleeps. A
   job is *open* while it may have tasks left. A worker that wakes too late finds it closed, and nobody waits for that worker.
   If several callers come at once, the first one gets the workers and the others do their tasks alone. After fork() the
   child has no workers and starts its own. */
#include "pool.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define SPINS 20000 /* about half a millisecond */
#define MOST_THREADS 1024
#define CACHE_LINE 64

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

/* ---- what the operating system provides: a lock, a way to sleep and to wake sleepers, threads ---- */

#ifdef _WIN32
#include <windows.h>
static SRWLOCK lock = SRWLOCK_INIT;
static CONDITION_VARIABLE wake = CONDITION_VARIABLE_INIT;
static void lock_it(void) { AcquireSRWLockExclusive(&lock); }
static void unlock_it(void) { ReleaseSRWLockExclusive(&lock); }
static void sleep_locked(void) { SleepConditionVariableSRW(&wake, &lock, INFINITE, 0); }
static void wake_all(void) { WakeAllConditionVariable(&wake); }
static void let_others_run(void) { SwitchToThread(); }
static void forget_after_fork(void (*forget)(void)) { (void)forget; } /* there is no fork */

static void work_for_ever(intptr_t thread);
static DWORD WINAPI thread_begins(LPVOID thread) {
    work_for_ever((intptr_t)thread);
    return 0;
}
static int start_thread(intptr_t index) {
    HANDLE thread = CreateThread(0, 0, thread_begins, (LPVOID)index, 0, 0);
    if (!thread) return 0;
    CloseHandle(thread);
    return 1;
}
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static void lock_it(void) { pthread_mutex_lock(&lock); }
static void unlock_it(void) { pthread_mutex_unlock(&lock); }
static void sleep_locked(void) { pthread_cond_wait(&wake, &lock); }
static void wake_all(void) { pthread_cond_broadcast(&wake); }
static void let_others_run(void) { sched_yield(); }
static void forget_after_fork(void (*forget)(void)) { pthread_atfork(0, 0, forget); }

static void work_for_ever(intptr_t thread);
static void *thread_begins(void *index) {
    work_for_ever((intptr_t)index);
    return 0;
}
static int start_thread(intptr_t index) {
    pthread_t thread;
    sigset_t all, before; /* the new thread blocks all signals, so that Python's threads get them */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&thread, 0, thread_begins, (void *)index);
    pthread_sigmask(SIG_SETMASK, &before, 0);
    if (failed) return 0;
    pthread_detach(thread);
    return 1;
}
#endif

/* ---- the pool ---- */

static struct { /* the job: the caller that holds the pool writes it, and workers read it while it is open */
    void (*work)(long task, void *job);
    void *job;
    intptr_t threads; /* thread 0 is the caller */
} job;
static struct { /* the share of each thread: its tasks next, ..., end - 1 are still to be done */
    _Alignas(CACHE_LINE) atomic_long next;
    long end;
} shares[MOST_THREADS];
static _Alignas(CACHE_LINE) atomic_ulong number; /* the number of the last job */
static _Alignas(CACHE_LINE) atomic_int job_is_open;
static _Alignas(CACHE_LINE) atomic_int inside; /* how many workers are looking at the job */
static _Alignas(CACHE_LINE) atomic_int sleepers; /* how many workers sleep and have not been woken yet */

static atomic_flag pool_is_taken = ATOMIC_FLAG_INIT;
static atomic_int wanted_threads = 1;
static intptr_t workers; /* how many were started; only the caller that holds the pool uses it */
static int registered;   /* whether forget() is called after fork() */

EXPORT void set_num_threads(int count) { atomic_store(&wanted_threads, count < 1 ? 1 : count < MOST_THREADS ? count : MOST_THREADS); }

/* Pauses between two looks. Now and then it gives the core to another thread, which may be the one that is waited for. */
static void rest(long looks) {
    if (looks % 512) PAUSE();
    else let_others_run();
}

/* Does the tasks of the thread's own share, then those that are left in the others'. */
static void do_tasks(intptr_t thread) {
    for (intptr_t i = 0; i < job.threads; i++) {
        const intptr_t share = (thread + i) % job.threads;
        for (long task; (task = atomic_fetch_add(&shares[share].next, 1)) < shares[share].end;) job.work(task, job.job);
    }
}

static void wait_for_another_job(unsigned long seen) {
    for (long looks = 1; looks < SPINS; looks++) {
        if (atomic_load_explicit(&number, memory_order_acquire) != seen) return;
        rest(looks);
    }
    lock_it();
    atomic_fetch_add(&sleepers, 1); /* before looking at the number; parallel_for changes the number, then looks at this */
    while (atomic_load(&number) == seen) sleep_locked();
    unlock_it();
}

static void work_for_ever(intptr_t thread) {
    for (unsigned long seen = 0;; wait_for_another_job(seen)) {
        seen = atomic_load(&number);
        atomic_fetch_add(&inside, 1);
        if (atomic_load(&job_is_open) && thread < job.threads) do_tasks(thread);
        atomic_fetch_sub(&inside, 1);
    }
}

static void forget(void) { /* called in the child of fork(), which has only one thread */
    workers = 0;
    atomic_store(&sleepers, 0);
    atomic_store(&inside, 0);
    atomic_store(&job_is_open, 0);
    atomic_flag_clear(&pool_is_taken);
#ifndef _WIN32
    pthread_mutex_init(&lock, 0);
    pthread_cond_init(&wake, 0);
#endif
}

static intptr_t start_workers(intptr_t count) {
    if (!registered) forget_after_fork(forget);
    registered = 1;
    while (workers < count && start_thread(workers + 1)) workers++;
    return workers < count ? workers : count;
}

void parallel_for(long tasks, void (*work)(long task, void *job), void *argument) {
    const int threads = atomic_load(&wanted_threads);
    if (tasks < 2 || threads < 2 || atomic_flag_test_and_set(&pool_is_taken)) {
        for (long task = 0; task < tasks; task++) work(task, argument);
        return;
    }
    job.threads = 1 + start_workers((tasks < threads ? tasks : threads) - 1);
    job.work = work, job.job = argument;
    for (intptr_t i = 0; i < job.threads; i++) {
        atomic_store_explicit(&shares[i].next, (int64_t)tasks * i / job.threads, memory_order_relaxed);
        shares[i].end = (int64_t)tasks * (i + 1) / job.threads;
    }
    atomic_store(&job_is_open, 1);
    atomic_fetch_add(&number, 1);
    if (atomic_load(&sleepers)) {
        lock_it();
        atomic_store(&sleepers, 0);
        wake_all();
        unlock_it();
    }
    do_tasks(0);
    atomic_store(&job_is_open, 0);
    for (long looks = 1; atomic_load(&inside); looks++) rest(looks);
    atomic_flag_clear(&pool_is_taken);
}

/* ---- memory ---- */

void *allocate(size_t bytes) { /* the address that malloc returned is stored just before the memory */
    if (bytes > SIZE_MAX - 2 * CACHE_LINE) return 0;
    char *whole = malloc(bytes + CACHE_LINE + sizeof(void *));
    if (!whole) return 0;
    char *memory = whole + sizeof(void *);
    memory += -(uintptr_t)memory % CACHE_LINE;
    ((void **)memory)[-1] = whole;
    return memory;
}

void release(void *memory) {
    if (memory) free(((void **)memory)[-1]);
}
