/* A pool of threads that share the tasks of a kernel, and temporary memory for kernels. */
#ifndef POOL_H
#define POOL_H
#include <stddef.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default"))) /* the library is compiled with -fvisibility=hidden */
#endif

/* Calls work(0, job), ..., work(tasks - 1, job), in any order, on all threads of the pool, and returns when all are done.

   The shapes alone should decide how work is cut into tasks, not the number of threads, and no task may write what another
   one reads or writes. Then the results do not depend on the number of threads. Inside a task, parallel_for is a plain
   loop. */
void parallel_for(long tasks, void (*work)(long task, void *job), void *job);

/* Memory that begins at a cache line, or NULL if there is none. */
void *allocate(size_t bytes);
void release(void *memory); /* memory may be NULL */
#endif
