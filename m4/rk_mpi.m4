# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# RK_MPI: finds Open MPI through its compiler wrapper (MPICC, or mpicc on PATH), or else through pkg-config.
# Sets MPI_CFLAGS, MPI_LIBS, and MPIRUN: the mpirun beside that wrapper. Stops when there is none.

AC_DEFUN([RK_MPI], [
  AC_ARG_VAR([MPICC], [Open MPI's compiler wrapper, asked for its flags and never used to compile])
  AC_ARG_VAR([MPIRUN], [the mpirun that starts jobs by default])
  AC_ARG_VAR([MPI_CFLAGS], [C compiler flags for MPI, overriding MPICC])
  AC_ARG_VAR([MPI_LIBS], [linker flags for MPI, overriding MPICC])
  AC_PATH_PROGS([MPICC], [mpicc.openmpi mpicc])
  AS_IF([test -z "$MPI_CFLAGS$MPI_LIBS"], [RK_MPI_FLAGS])
  AC_MSG_CHECKING([for mpirun])
  AS_IF([test -z "$MPIRUN" && test -n "$MPICC"], [
    rk_mpi_bin=`AS_DIRNAME(["$MPICC"])`
    for rk_mpi_name in mpirun.openmpi mpirun; do
      AS_IF([test -z "$MPIRUN" && test -x "$rk_mpi_bin/$rk_mpi_name"], [MPIRUN=$rk_mpi_bin/$rk_mpi_name])
    done])
  AS_IF([test -z "$MPIRUN"], [MPIRUN=mpirun])
  AC_MSG_RESULT([$MPIRUN])
  RK_MPI_CHECK
])

# Reads the flags from the wrapper; the package file is the fallback.
AC_DEFUN([RK_MPI_FLAGS], [
  AC_MSG_CHECKING([for the flags of MPI])
  AS_IF([test -n "$MPICC" && MPI_CFLAGS=`"$MPICC" --showme:compile 2>&AS_MESSAGE_LOG_FD` &&
         MPI_LIBS=`"$MPICC" --showme:link 2>&AS_MESSAGE_LOG_FD`],
    [AC_MSG_RESULT([from $MPICC])],
    [AC_MSG_RESULT([not from a compiler wrapper])
     unset MPI_CFLAGS MPI_LIBS
     PKG_CHECK_MODULES([MPI], [ompi-c], [],
       [AC_MSG_ERROR([Open MPI is missing: install libopenmpi-dev and openmpi-bin, or set MPICC to its mpicc])])])
])

# A program that calls MPI must compile and link.
AC_DEFUN([RK_MPI_CHECK], [
  rk_mpi_save_CFLAGS=$CFLAGS rk_mpi_save_LIBS=$LIBS
  CFLAGS="$CFLAGS $MPI_CFLAGS" LIBS="$MPI_LIBS $LIBS"
  AC_CACHE_CHECK([whether a program with MPI links], [rk_cv_mpi_links],
    [AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <mpi.h>
#ifndef OPEN_MPI
#error "not Open MPI"
#endif]], [[int level; return MPI_Init_thread(0, 0, MPI_THREAD_MULTIPLE, &level);]])],
      [rk_cv_mpi_links=yes], [rk_cv_mpi_links=no])])
  CFLAGS=$rk_mpi_save_CFLAGS LIBS=$rk_mpi_save_LIBS
  AS_IF([test "$rk_cv_mpi_links" = no],
    [AC_MSG_ERROR([a program with Open MPI does not link (MPI_CFLAGS=$MPI_CFLAGS MPI_LIBS=$MPI_LIBS); see config.log])])
])
