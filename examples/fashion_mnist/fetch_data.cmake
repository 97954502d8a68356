# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# Fetches Fashion-MNIST (MIT licence) from its authors' repository into `data`, each file checked against its hash.
set(url https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion)
set(files
  train-images-idx3-ubyte.gz 3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
  train-labels-idx1-ubyte.gz a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
  t10k-images-idx3-ubyte.gz 346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
  t10k-labels-idx1-ubyte.gz 67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5)
while(files)
  list(POP_FRONT files file hash)
  if(EXISTS "${data}/${file}")
    file(SHA256 "${data}/${file}" found)
    if(found STREQUAL hash)
      continue()
    endif()
  endif()
  message(STATUS "tempflow: fetching ${url}/${file}")
  file(DOWNLOAD "${url}/${file}" "${data}/${file}.part" TIMEOUT 300 STATUS status)
  list(GET status 0 code)
  if(code EQUAL 0)
    file(SHA256 "${data}/${file}.part" found)
    if(found STREQUAL hash)
      file(RENAME "${data}/${file}.part" "${data}/${file}")
      continue()
    endif()
    set(status "its SHA-256 is ${found}, expected ${hash}")
  endif()
  file(REMOVE "${data}/${file}.part")
  message(WARNING "tempflow: cannot fetch ${file} (${status}). Install dataset-fashion-mnist (Debian), or give "
                  "fashion_mnist the folder of the files with --data.")
  break()
endwhile()
