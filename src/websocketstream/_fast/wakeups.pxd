# The C types of _network/wakeups.py.

cimport cython

cdef class Wakeups:
    cdef readonly object loop
    cdef readonly bint is_going_on
    cdef bint _is_callback
    cdef TaskWaiter _woken
    cdef readonly object done

    cpdef waiter(self)
    cpdef wake(self, TaskWaiter waiter)
    cpdef begin(self)
    @cython.locals(woken=TaskWaiter)
    cpdef end(self)

@cython.freelist(16)
cdef class TaskWaiter:
    cdef Wakeups _wakeups
    cdef public bint _asyncio_future_blocking
    cdef object _callback
    cdef object _context
    cdef object _message
    cdef public bint is_done
    cdef public bint is_cancelled

    cpdef go_on(self)
    cpdef go_on_soon(self)
    cpdef result(self)
