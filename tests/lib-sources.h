/*
 * Copyright (c) 2026 The vhost async for Open vSwitch authors.
 *
 * Licensed under the Apache License, Version 2.0 (the "License");
 * you may not use this file except in compliance with the License.
 * You may obtain a copy of the License at:
 *
 *     http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS,
 * WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
 * See the License for the specific language governing permissions and
 * limitations under the License.
 */

#ifndef LIB_SOURCES_H
#define LIB_SOURCES_H 1

/* For tests that include sources of lib/ which the library has, too: coverage
 * counters are the test's, and log modules are mute and not known by their
 * names, which are taken.  'this_module' must be another name for each source
 * that logs. */

#include "coverage.h"
#include "openvswitch/list.h"
#include "openvswitch/vlog.h"
#include "ovs-atomic.h"

#undef COVERAGE_DEFINE
#undef COVERAGE_INC
#define COVERAGE_DEFINE(COUNTER) static atomic_count n_##COUNTER
#define COVERAGE_INC(COUNTER) atomic_count_inc(&n_##COUNTER)

#undef VLOG_DEFINE_THIS_MODULE
#define VLOG_DEFINE_THIS_MODULE(MODULE)                         \
    static struct vlog_module this_module = {                   \
        OVS_LIST_INITIALIZER(&this_module.list), #MODULE,       \
        { VLL_OFF, VLL_OFF, VLL_OFF }, VLL_OFF, true            \
    }

#endif /* lib-sources.h */
