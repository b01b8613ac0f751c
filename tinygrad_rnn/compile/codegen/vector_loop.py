"""Elementwise maths row by row: the code of one sweep over the features of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.printer import is_reduction
from ..ir.program_ops import CAST, SLICE
from ..ir.symbol import Symbol
from ..schedule.buffers import Place, Store

if TYPE_CHECKING:
    from .numba_loop import Emitter


class Sweep:
    """One sweep over the features of one row: the values of one level and one width."""

    def __init__(self, emitter: Emitter, level: int, key: Any):
        self.e = emitter
        self.level = level
        self.scalar = key == "1"
        self.key = key
        self.head: list[str] = []  # once per row
        self.body: list[str] = []  # once per vector of features
        self.names = dict(emitter.row_values)  # uid -> variable
        self.j, self.live, self.left = (emitter.unique(name) for name in ("j", "live", "left"))
        self.computed: list[Symbol] = []
        emitter.loops.append((level, self.computed))

    def emit(self, stores: list[Store], reductions: list[Symbol]) -> list[str]:
        e = self.e
        for store in stores:
            self._store(store)
        tail: list[str] = []
        for r in reductions:
            total = f"r{r.uid}"
            x = self.value(r.args[0], False)
            start, combine, finish = {
                "sum": (e.number(0.0), f"{total} + {{}}", "vsum"),
                "max": ("vsplat(-INF, k)", f"vmax({total}, {{}})", "vhmax"),
                "min": ("vsplat(INF, k)", f"vmin({total}, {{}})", "vhmin"),
            }[r.op.name if r.op else ""]
            self.head.append(f"{total} = {start}")
            self.body.append(f"{total} = {combine.format(f'vselect({self.live}, {x}, {start})')}")
            place, name = e.schedule.places[r.uid], e.unique(r.name)
            tail.append(f"{name} = vsplat({finish}({total}), k)")
            if (place.buffer, place.part) not in e.local:
                tail.append(f"vstore({e.array(place.buffer)}, {e.row(place)}, {name})")
            e.row_values[r.uid] = name
        if self.scalar:
            return self.head + self.body + tail
        n = e.int("width", self.key)
        j, lanes = self.j, {self.left: f"min(LANES, {n} - {self.j})", self.live: f"vfirst({n} - {self.j}, k)"}
        used = [f"{name} = {code}" for name, code in lanes.items() if any(name in line for line in self.body)]
        loop = [f"for {j} in range(0, {n}, LANES):", *("    " + line for line in used + self.body)]
        return self.head + loop + tail

    def _store(self, store: Store) -> None:
        e, place = self.e, store.place
        if (
            isinstance(store.value, Symbol)
            and e.schedule.places.get(store.value.uid) == place
            and (is_reduction(store.value) or store.value.uid in e.schedule.sources)
        ):
            return
        if isinstance(store.value, tuple):
            terms = [self.value(t, self.scalar) for t in store.value[1]]
            x = " + ".join(terms)
        else:
            x = self.value(store.value, self.scalar, fresh=True)
            if store.value.dtype.kind == "b":
                x = f"vselect({x}, {e.number(1)}, {e.number(0)})"
        array, at = e.array(place.buffer), e.row(place) + ("" if self.scalar else f" + {self.j}")
        if store.add:
            x = f"vload({array}, {at}) + {x}"
        if store.exact:
            left = "1" if self.scalar else self.left
            self.body.append(f"vstore_n({array}, {at}, {x}, {left})")
            return
        if store.clean:
            live = "vfirst(1, k)" if self.scalar else self.live
            x = f"vselect({live}, {x}, {e.number(0)})"
        self.body.append(f"vstore({array}, {at}, {x})")

    def value(self, s: Any, scalar: bool, fresh: bool = False) -> str:
        """The name of a variable that holds `s`; writes the code that computes it where there is none."""
        e = self.e
        if not isinstance(s, Symbol):
            return e.number(float(s))
        if s.uid in self.names:
            return self.names[s.uid]
        scalar = scalar or (s.width == 1 if s.varying else s.shape[-1:] in ((), (1,)))
        out = self.body if self.scalar or not scalar else self.head
        if not s.varying:
            code = self._invariant(s)
        elif s.uid in e.schedule.sources:
            code = self._load(s, e.schedule.sources[s.uid], scalar)
        elif s.op is SLICE:
            code = self._load(s, e.schedule.place_of(s), scalar)
        elif (
            s.uid in e.schedule.places
            and (not fresh or is_reduction(s) or s.uid in e.schedule.accumulations)
            and self._stored(s)
        ):
            code = self._load(s, e.schedule.places[s.uid], scalar)
        elif s.uid in e.schedule.accumulations:
            acc = e.schedule.accumulations[s.uid]
            assert acc.place is not None
            code = " + ".join([self._load(s, acc.place, scalar), *(self.value(t, scalar) for t in acc.after)])
        else:
            code = self._compute(s, scalar)
        name = self.names[s.uid] = e.unique(s.name)
        out.append(f"{name} = {code}")
        if scalar and s.varying:
            e.row_values[s.uid] = name
        return name

    def _stored(self, s: Symbol) -> bool:
        """Whether the place of `s` has been written by the time this loop runs."""
        schedule = self.e.schedule
        acc = schedule.accumulations.get(s.uid)
        if acc is not None:
            return not acc.after or schedule.level_of(s) < self.level
        return is_reduction(s) or schedule.level_of(s) < self.level

    def _compute(self, s: Symbol, scalar: bool) -> str:
        e = self.e
        self.computed.append(s)
        if s.op is CAST:
            x = self.value(s.args[0], scalar)
            return f"vselect({x}, {e.number(1)}, {e.number(0)})" if s.dtype.kind == "f" else f"{x} != 0.0"
        args = [self.value(a, scalar) for a in s.args]
        static = {name: e.number(x) for name, x in s.static.items() if isinstance(x, int | float)}
        return s.lowering.code.format(*args, **static)

    def _load(self, s: Symbol, place: Place, scalar: bool) -> str:
        e = self.e
        array, at = e.array(place.buffer), e.row(place)
        if scalar:
            code = f"vbroadcast({array}, {at})"
        elif place.buffer.kind == "user":
            code = f"vload_n({array}, {at} + {self.j}, {self.left})"
        else:
            code = f"vload({array}, {at} + {self.j})"
        return f"{code} != 0.0" if s.dtype.kind == "b" else code

    def _invariant(self, s: Symbol) -> str:
        e = self.e
        e.vectors[s.uid] = s
        at = e.int("vector", s.uid)
        rows = s.ndim == 2 and s.shape[0] != 1
        if rows:
            at = f"{at} + b * {e.int('vector_ld', s.uid)}"
        if s.shape[-1:] not in ((), (1,)):
            at += f" + {self.j}"
        code = f"vbroadcast(w, {at})" if rows and s.shape[1] == 1 else f"vload(w, {at})"
        return f"{code} != 0.0" if s.dtype.kind == "b" else code
