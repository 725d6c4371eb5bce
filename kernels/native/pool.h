/* Threads that share the tasks of a kernel, and memory for kernels to work in. */
#ifndef POOL_H
#define POOL_H
#include <stddef.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default"))) /* the library is compiled with -fvisibility=hidden */
#endif

/* work(0, job), ..., work(tasks - 1, job), in any order, shared among the threads of the pool; returns when all are done.

   Cut the work by its shape alone, never by the number of threads, and let a task write what no other task touches:
   then the results do not depend on how many threads there are. Within a task parallel_for is an ordinary loop. */
void parallel_for(long tasks, void (*work)(long task, void *job), void *job);

/* Memory that begins at a cache line; NULL if there is none. */
void *allocate(size_t bytes);
void release(void *memory); /* NULL is fine */
#endif
