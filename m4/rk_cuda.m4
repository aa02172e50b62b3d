# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# RK_CUDA: --with-cuda[=DIR] / --without-cuda looks for the CUDA run-time library, which the module rankcall-cuda.so needs,
# for NCCL's header, without which a stand-in of ours does (the library is opened at run time), and for nvcc and cuBLAS, which the
# examples use. Sets CUDA_CPPFLAGS, CUDA_LIBS, NVCC, KERNEL_LIBS, CUBLAS_LIBS, the conditionals CUDA, NVCC and BENCH_GPU, and cuda_found, nccl_found and
# nvcc_found for the summary.

AC_DEFUN([RK_CUDA], [
  AC_ARG_WITH([cuda],
    [AS_HELP_STRING([--with-cuda@<:@=DIR@:>@],
      [build the CUDA module with what lies below DIR (/usr/local/cuda) @<:@default=auto@:>@])],
    [], [with_cuda=auto])
  cuda_found=no nccl_found=no nccl_linked=no cublas_found=no nvcc_found=no
  AS_IF([test "$with_cuda" != no], [
    AS_CASE([$with_cuda], [yes|auto], [rk_cuda_dir=/usr/local/cuda], [rk_cuda_dir=$with_cuda])
    rk_cuda_save_CPPFLAGS=$CPPFLAGS rk_cuda_save_LDFLAGS=$LDFLAGS
    CPPFLAGS="$CPPFLAGS -I$rk_cuda_dir/include"
    LDFLAGS="$LDFLAGS -L$rk_cuda_dir/lib64"
    RK_CUDA_LIBRARY([cuda_found], [cuda_runtime_api.h], [cudart], [cudaGetDeviceCount])
    AS_IF([test "$cuda_found" = yes], [
      AC_CHECK_HEADER([nccl.h], [nccl_found=yes])
      RK_CUDA_LIBRARY([nccl_linked], [nccl.h], [nccl], [ncclGetVersion])
      RK_CUDA_LIBRARY([cublas_found], [cublas_v2.h], [cublas], [cublasCreate_v2])
      AC_PATH_PROG([NVCC], [nvcc], [], [$rk_cuda_dir/bin$PATH_SEPARATOR$PATH])
      AS_IF([test -n "$NVCC" && test "$cublas_found" = yes], [nvcc_found=yes])])
    CPPFLAGS=$rk_cuda_save_CPPFLAGS LDFLAGS=$rk_cuda_save_LDFLAGS
    AS_IF([test "$with_cuda" != auto && test "$cuda_found" = no],
      [AC_MSG_ERROR([CUDA was asked for and is not below $rk_cuda_dir])])
  ])
  AS_IF([test "$cuda_found" = yes], [
    CUDA_CPPFLAGS="-isystem $rk_cuda_dir/include"
    AS_IF([test "$nccl_found" = no], [CUDA_CPPFLAGS="$CUDA_CPPFLAGS -I\$(srcdir)/tests/doubles/nccl"])
    AS_IF([test "$cublas_found" = yes], [CUBLAS_LIBS="-lcublas"])
    KERNEL_LIBS="-L$rk_cuda_dir/lib64 -Xlinker -rpath,$rk_cuda_dir/lib64"
    CUDA_LIBS="-L$rk_cuda_dir/lib64 -Wl,-rpath,$rk_cuda_dir/lib64 -lcudart"])
  AC_SUBST([CUDA_CPPFLAGS])
  AC_SUBST([CUDA_LIBS])
  AC_SUBST([CUBLAS_LIBS])
  AC_SUBST([KERNEL_LIBS])
  AM_CONDITIONAL([BENCH_GPU], [test "$nccl_linked" = yes])
  AM_CONDITIONAL([NVCC], [test "$nvcc_found" = yes])
  AM_CONDITIONAL([CUDA], [test "$cuda_found" = yes])
])

# RK_CUDA_LIBRARY(VARIABLE, HEADER, LIBRARY, FUNCTION)
AC_DEFUN([RK_CUDA_LIBRARY], [
  AC_CHECK_HEADER([$2], [
    rk_cuda_save_LIBS=$LIBS
    AC_CHECK_LIB([$3], [$4], [$1=yes], [:])
    LIBS=$rk_cuda_save_LIBS])
])
