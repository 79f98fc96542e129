"""Lists of numbers and of anything."""
from .base import family

family("sum_list", "sum_list total_sum add_all", "nums: list[int] -> int",
       "returns the sum of the numbers in $nums | adds up all numbers in $nums",
       "返回 $nums 中所有数的和 | 计算列表 $nums 的总和",
       "return sum($nums)", "([1, 2, 3]) == 6\n([]) == 0")
family("product_list", "product_list multiply_all product", "nums: list[int] -> int",
       "returns the product of the numbers in $nums | multiplies all numbers in $nums together",
       "返回 $nums 中所有数的乘积 | 计算列表 $nums 里所有数字的积",
       "result = 1\nfor x in $nums:\n    result *= x\nreturn result", "([2, 3, 4]) == 24\n([]) == 1")
family("max_list", "max_value find_max largest", "nums: list[int] -> int",
       "returns the largest number in $nums | finds the maximum of $nums",
       "返回 $nums 中最大的数 | 求列表 $nums 的最大值",
       "return max($nums)", "([1, 5, 3]) == 5\n([-2]) == -2")
family("min_list", "min_value find_min smallest", "nums: list[int] -> int",
       "returns the smallest number in $nums | finds the minimum of $nums",
       "返回 $nums 中最小的数 | 求列表 $nums 的最小值",
       "return min($nums)", "([4, 1, 3]) == 1\n([-2]) == -2")
family("max_manual", "max_loop manual_max find_biggest", "nums: list[int] -> int",
       "finds the largest number in $nums without using max | returns the maximum of $nums by a loop, without max",
       "不使用 max 找出 $nums 中最大的数 | 用循环求 $nums 的最大值，不用 max",
       "best = $nums[0]\nfor x in $nums:\n    if x > best:\n        best = x\nreturn best", "([1, 5, 3]) == 5\n([-2]) == -2")
family("average", "average mean_value avg", "nums: list[float] -> float",
       "returns the average of the numbers in $nums | computes the mean of $nums",
       "返回 $nums 中数字的平均值 | 计算列表 $nums 的平均数",
       "return sum($nums) / len($nums)", "([1, 2, 3]) == 2\n([5]) == 5")
family("median", "median find_median middle_value", "nums: list[float] -> float",
       "returns the median of $nums | computes the median of the numbers in $nums",
       "返回 $nums 的中位数 | 计算列表 $nums 的中位数",
       """
data = sorted($nums)
mid = len(data) // 2
if len(data) % 2:
    return data[mid]
return (data[mid - 1] + data[mid]) / 2
""", "([3, 1, 2]) == 2\n([4, 1, 2, 3]) == 2.5", topic=("the median of a list", "求中位数"))
family("mode", "mode most_common most_frequent", "items: list -> object",
       "returns the most frequent element of $items | finds the element that occurs most often in $items",
       "返回 $items 中出现次数最多的元素 | 找出列表 $items 里最常见的元素",
       "return max(set($items), key=$items.count)", "([1, 2, 2, 3]) == 2\n(['a']) == 'a'")
family("variance", "variance calc_variance var_of", "nums: list[float] -> float",
       "computes the population variance of $nums | returns the variance of the numbers in $nums",
       "计算 $nums 的总体方差 | 返回列表 $nums 中数字的方差",
       "mean = sum($nums) / len($nums)\nreturn sum((x - mean) ** 2 for x in $nums) / len($nums)",
       "([1, 3]) == 1\n([2, 2, 2]) == 0")
family("reverse_list", "reverse_list reversed_items flip_list", "items: list -> list",
       "returns $items in reverse order | reverses the list $items",
       "返回倒序的 $items | 将列表 $items 反转",
       "return $items[::-1]", "([1, 2, 3]) == [3, 2, 1]\n([]) == []", topic=("list reversal", "列表反转"))
family("dedupe", "dedupe remove_duplicates unique_items", "items: list -> list",
       "removes duplicates from $items and keeps the order | returns $items without duplicates in the original order",
       "去除 $items 中的重复元素并保持顺序 | 返回 $items 去重后的列表，保持原顺序",
       """
seen = set()
result = []
for x in $items:
    if x not in seen:
        seen.add(x)
        result.append(x)
return result
""", "([1, 2, 1, 3, 2]) == [1, 2, 3]\n([]) == []", topic=("list deduplication", "列表去重"))
family("filter_parity", "keep_$par filter_$par only_$par get_$par", "nums: list[int] -> list[int]",
       "returns the $par numbers in $nums | keeps only the $par numbers of $nums",
       "返回 $nums 中的$par_zh | 只保留列表 $nums 里的$par_zh",
       "return [x for x in $nums if x % 2 == $r]",
       "([1, 2, 3, 4]) == [[2, 4], [1, 3]][$r]\n([]) == []",
       vary=dict(par=[dict(par="even", par_zh="偶数", r="0"), dict(par="odd", par_zh="奇数", r="1")]))
family("count_parity", "count_$par number_of_$par ${par}_count", "nums: list[int] -> int",
       "counts the $par numbers in $nums | returns how many numbers in $nums are $par",
       "统计 $nums 中$par_zh的个数 | 返回列表 $nums 里有多少个$par_zh",
       "return sum(1 for x in $nums if x % 2 == $r)", "([1, 2, 3]) == [1, 2][$r]\n([]) == 0",
       vary=dict(par=[dict(par="even", par_zh="偶数", r="0"), dict(par="odd", par_zh="奇数", r="1")]))
family("sum_parity", "sum_$par ${par}_sum total_$par", "nums: list[int] -> int",
       "returns the sum of the $par numbers in $nums | adds up the $par numbers of $nums",
       "返回 $nums 中$par_zh的和 | 计算列表 $nums 里所有$par_zh之和",
       "return sum(x for x in $nums if x % 2 == $r)", "([1, 2, 3, 4]) == [6, 4][$r]\n([]) == 0",
       vary=dict(par=[dict(par="even", par_zh="偶数", r="0"), dict(par="odd", par_zh="奇数", r="1")]))
family("filter_greater", "filter_greater keep_above over_limit", "nums: list[int] -> list[int]",
       "returns the numbers in $nums greater than $k | keeps only numbers of $nums that are greater than $k",
       "返回 $nums 中大于 $k 的数 | 只保留列表 $nums 里大于 $k 的数字",
       "return [x for x in $nums if x > $k]", "([$k, $k + 1, $k - 1]) == [$k + 1]\n([]) == []", vary=dict(k=range(0, 100)))
family("filter_less", "filter_less keep_below under_limit", "nums: list[int] -> list[int]",
       "returns the numbers in $nums less than $k | keeps only numbers of $nums that are less than $k",
       "返回 $nums 中小于 $k 的数 | 只保留列表 $nums 里小于 $k 的数字",
       "return [x for x in $nums if x < $k]", "([$k, $k + 1, $k - 1]) == [$k - 1]\n([]) == []", vary=dict(k=range(0, 100)))
family("count_greater", "count_greater count_above how_many_over", "nums: list[int], limit: int -> int",
       "counts the numbers in $nums greater than $limit | returns how many numbers in $nums are greater than $limit",
       "统计 $nums 中大于 $limit 的数的个数 | 返回 $nums 里有多少个数大于 $limit",
       "return sum(1 for x in $nums if x > $limit)", "([1, 5, 7], 4) == 2\n([], 0) == 0")
family("filter_divisible", "filter_divisible keep_multiples divisible_only", "nums: list[int] -> list[int]",
       "returns the numbers in $nums divisible by $k | keeps only the multiples of $k in $nums",
       "返回 $nums 中能被 $k 整除的数 | 只保留列表 $nums 里 $k 的倍数",
       "return [x for x in $nums if x % $k == 0]", "([$k, $k + 1, 2 * $k]) == [$k, 2 * $k]\n([]) == []", vary=dict(k=range(2, 60)))
family("multiply_each", "multiply_each scale_list times_all", "nums: list[int] -> list[int]",
       "multiplies each number in $nums by $k | returns a list with every number of $nums multiplied by $k",
       "将 $nums 中的每个数乘以 $k | 返回 $nums 里每个数字乘以 $k 后的列表",
       "return [x * $k for x in $nums]", "([1, 2]) == [$k, 2 * $k]\n([]) == []", vary=dict(k=range(2, 100)))
family("add_each", "add_each shift_list increase_all", "nums: list[int] -> list[int]",
       "adds $k to each number in $nums | returns a list with $k added to every number of $nums",
       "给 $nums 中的每个数加上 $k | 返回 $nums 里每个数字加 $k 后的列表",
       "return [x + $k for x in $nums]", "([1, 2]) == [1 + $k, 2 + $k]\n([]) == []", vary=dict(k=range(1, 100)))
family("power_each", "power_each $pow_name_list raise_all", "nums: list[int] -> list[int]",
       "returns a list with the $pow_en of the numbers in $nums | computes the $pow_en of all numbers in $nums",
       "返回 $nums 中每个数的$pow_zh组成的列表 | 计算列表 $nums 里所有数字的$pow_zh",
       "return [x ** $p for x in $nums]", "([1, 2, 3]) == [1, 2 ** $p, 3 ** $p]\n([]) == []",
       vary=dict(p=[dict(pow_name_list="square_list", pow_en="squares", pow_zh="平方", p="2"), dict(pow_name_list="cube_list", pow_en="cubes", pow_zh="立方", p="3")]))
family("sum_powers", "sum_powers $pow_name power_sum", "nums: list[int] -> int",
       "returns the sum of the $pow_en of the numbers in $nums | adds up the $pow_en of all numbers in $nums",
       "返回 $nums 中所有数的$pow_zh和 | 计算列表 $nums 里每个数字的$pow_zh之和",
       "return sum(x ** $p for x in $nums)", "([1, 2]) == 1 + 2 ** $p\n([]) == 0",
       vary=dict(p=[dict(pow_name="sum_squares", pow_en="squares", pow_zh="平方", p="2"), dict(pow_name="sum_cubes", pow_en="cubes", pow_zh="立方", p="3")]))
family("flatten", "flatten flatten_list flat", "lists: list[list] -> list",
       "flattens the list of lists $lists into one list | turns the nested list $lists into a flat list",
       "将二维列表 $lists 展平成一个列表 | 把嵌套列表 $lists 展开为一维列表",
       "return [x for row in $lists for x in row]", "([[1, 2], [3]]) == [1, 2, 3]\n([]) == []", topic=("list flattening", "列表展平"))
family("flatten_deep", "flatten_deep deep_flatten flatten_all", "items: list -> list",
       "flattens $items at any depth of nesting | recursively flattens the nested list $items",
       "递归展平任意深度的嵌套列表 $items | 将任意嵌套的 $items 展平",
       """
result = []
for x in $items:
    if isinstance(x, list):
        result.extend($f(x))
    else:
        result.append(x)
return result
""", "([1, [2, [3]]]) == [1, 2, 3]\n([]) == []")
family("chunk", "chunk split_chunks make_chunks", "items: list, size: int -> list[list]",
       "splits $items into chunks of length $size | cuts the list $items into pieces of $size elements",
       "将 $items 切分为长度为 $size 的小块 | 把列表 $items 每 $size 个元素分成一组",
       "return [$items[i:i + $size] for i in range(0, len($items), $size)]", "([1, 2, 3], 2) == [[1, 2], [3]]\n([], 3) == []")
family("chunk_fixed", "group_by_$k chunk_$k split_every_$k", "items: list -> list[list]",
       "splits $items into groups of $k elements | cuts $items into sublists of length $k",
       "将 $items 每 $k 个元素分成一组 | 把列表 $items 切成长度为 $k 的子列表",
       "return [$items[i:i + $k] for i in range(0, len($items), $k)]", "(list(range($k + 1))) == [list(range($k)), [$k]]\n([]) == []", vary=dict(k=range(2, 20)))
family("rotate_left", "rotate_left rotate_list shift_left", "items: list, k: int -> list",
       "rotates $items to the left by $k positions | returns $items rotated left by $k",
       "将 $items 向左旋转 $k 位 | 返回 $items 循环左移 $k 位后的列表",
       "if not $items:\n    return []\n$k = $k % len($items)\nreturn $items[$k:] + $items[:$k]", "([1, 2, 3, 4], 1) == [2, 3, 4, 1]\n([], 2) == []\n([1, 2], 3) == [2, 1]")
family("rotate_right", "rotate_right rotate_back shift_right", "items: list, k: int -> list",
       "rotates $items to the right by $k positions | returns $items rotated right by $k",
       "将 $items 向右旋转 $k 位 | 返回 $items 循环右移 $k 位后的列表",
       "if not $items:\n    return []\n$k = $k % len($items)\nreturn $items[-$k:] + $items[:-$k]", "([1, 2, 3, 4], 1) == [4, 1, 2, 3]\n([], 2) == []\n([1, 2], 3) == [2, 1]")
family("second_largest", "second_largest runner_up second_max", "nums: list[int] -> int",
       "returns the second largest distinct number in $nums | finds the second biggest value of $nums",
       "返回 $nums 中第二大的数 | 找出列表 $nums 里第二大的值",
       "return sorted(set($nums))[-2]", "([1, 3, 2]) == 2\n([5, 5, 4]) == 4")
family("second_smallest", "second_smallest second_min next_lowest", "nums: list[int] -> int",
       "returns the second smallest distinct number in $nums | finds the second lowest value of $nums",
       "返回 $nums 中第二小的数 | 找出列表 $nums 里第二小的值",
       "return sorted(set($nums))[1]", "([1, 3, 2]) == 2\n([5, 5, 4]) == 5")
family("intersection", "intersection common_items shared", "a: list, b: list -> list",
       "returns the elements of $a that are also in $b | finds the common elements of $a and $b",
       "返回 $a 中同时出现在 $b 里的元素 | 求列表 $a 和 $b 的交集",
       "return [x for x in $a if x in $b]", "([1, 2, 3], [2, 3, 4]) == [2, 3]\n([], [1]) == []")
family("difference", "difference subtract_lists only_first", "a: list, b: list -> list",
       "returns the elements of $a that are not in $b | finds the difference of the lists $a and $b",
       "返回 $a 中不在 $b 里的元素 | 求列表 $a 与 $b 的差集",
       "return [x for x in $a if x not in $b]", "([1, 2, 3], [2]) == [1, 3]\n([], [1]) == []")
family("union", "union merge_unique all_items", "a: list, b: list -> list",
       "returns the sorted union of $a and $b without duplicates | merges $a and $b into a sorted list without duplicates",
       "返回 $a 和 $b 去重后的有序并集 | 求列表 $a 与 $b 的并集并排序",
       "return sorted(set($a) | set($b))", "([1, 3], [2, 3]) == [1, 2, 3]\n([], []) == []")
family("zip_lists", "zip_lists pair_up make_pairs", "a: list, b: list -> list[tuple]",
       "pairs up the elements of $a and $b as tuples | returns a list of pairs made from $a and $b",
       "将 $a 和 $b 的元素两两配对成元组 | 返回由 $a 与 $b 组成的元组列表",
       "return list(zip($a, $b))", "([1, 2], ['a', 'b']) == [(1, 'a'), (2, 'b')]\n([], []) == []")
family("interleave", "interleave alternate mix_lists", "a: list, b: list -> list",
       "interleaves $a and $b into one list | returns a list that takes elements from $a and $b alternately",
       "将 $a 和 $b 交替合并成一个列表 | 返回 $a 与 $b 的元素交错排列的列表",
       "result = []\nfor x, y in zip($a, $b):\n    result.append(x)\n    result.append(y)\nreturn result", "([1, 2], [3, 4]) == [1, 3, 2, 4]\n([], []) == []")
family("running_sum", "running_sum prefix_sums cumulative", "nums: list[int] -> list[int]",
       "returns the running sums of $nums | computes the cumulative sums of $nums",
       "返回 $nums 的前缀和列表 | 计算列表 $nums 的累积和",
       "result = []\ntotal = 0\nfor x in $nums:\n    total += x\n    result.append(total)\nreturn result", "([1, 2, 3]) == [1, 3, 6]\n([]) == []", topic=("prefix sums", "前缀和"))
family("differences", "differences adjacent_diffs deltas", "nums: list[int] -> list[int]",
       "returns the differences between neighbouring numbers in $nums | computes the difference of each adjacent pair of $nums",
       "返回 $nums 中相邻数字的差 | 计算列表 $nums 每对相邻元素之差",
       "return [y - x for x, y in zip($nums, $nums[1:])]", "([1, 4, 6]) == [3, 2]\n([1]) == []")
family("max_subarray", "max_subarray max_sub_sum best_sum", "nums: list[int] -> int",
       "returns the largest sum of a contiguous subarray of $nums | finds the maximum subarray sum of $nums",
       "返回 $nums 的最大连续子数组和 | 求列表 $nums 的最大子段和",
       "best = current = $nums[0]\nfor x in $nums[1:]:\n    current = max(x, current + x)\n    best = max(best, current)\nreturn best",
       "([-2, 1, -3, 4, -1, 2, 1]) == 6\n([-1]) == -1", topic=("maximum subarray sum", "最大子数组和"))
family("two_sum", "two_sum pair_with_sum find_pair", "nums: list[int], target: int -> list[int]",
       "returns the indices of two numbers in $nums that add up to $target | finds two indices in $nums whose numbers sum to $target",
       "返回 $nums 中和为 $target 的两个数的下标 | 在 $nums 中找出两个相加等于 $target 的数的下标",
       "seen = {}\nfor i, x in enumerate($nums):\n    if $target - x in seen:\n        return [seen[$target - x], i]\n    seen[x] = i\nreturn []",
       "([2, 7, 11], 9) == [0, 1]\n([1, 2], 9) == []", topic=("two sum", "两数之和"))
family("move_zeros", "move_zeros zeros_to_end push_zeros", "nums: list[int] -> list[int]",
       "moves all zeros in $nums to the end | returns $nums with its zeros at the end and the other numbers in order",
       "将 $nums 中的所有零移到末尾 | 把列表 $nums 里的 0 移到最后，其余保持顺序",
       "rest = [x for x in $nums if x != 0]\nreturn rest + [0] * (len($nums) - len(rest))", "([0, 1, 0, 3]) == [1, 3, 0, 0]\n([]) == []")
family("remove_value", "remove_value drop_value without", "items: list, value: int -> list",
       "removes every $value from $items | returns $items without any $value",
       "删除 $items 中所有的 $value | 返回去掉 $value 后的 $items",
       "return [x for x in $items if x != $value]", "([1, 2, 1], 1) == [2]\n([], 1) == []")
family("count_value", "count_value occurrences count_in", "items: list, value: int -> int",
       "counts how often $value occurs in $items | returns the number of times $value appears in $items",
       "统计 $value 在 $items 中出现的次数 | 返回 $items 里有多少个 $value",
       "return $items.count($value)", "([1, 2, 1], 1) == 2\n([], 1) == 0")
family("find_all_indexes", "find_all indexes_of positions", "items: list, value: int -> list[int]",
       "returns all indexes at which $value occurs in $items | finds every position of $value in $items",
       "返回 $value 在 $items 中出现的所有下标 | 找出 $items 里 $value 的全部位置",
       "return [i for i, x in enumerate($items) if x == $value]", "([1, 2, 1], 1) == [0, 2]\n([], 1) == []")
family("every_nth", "every_nth take_every step_items", "items: list -> list",
       "returns every $k-th element of $items, starting with the first | takes each $k-th item of $items from the first on",
       "从第一个开始，每隔 $k 个取出 $items 的元素 | 返回 $items 中步长为 $k 的元素",
       "return $items[::$k]", "([0, 1, 2, 3, 4, 5]) == [0, 1, 2, 3, 4, 5][::$k]\n([]) == []", vary=dict(k=range(2, 30)))
family("first_last_n", "${which}_$n get_${which}_$n take_$which", "items: list -> list",
       "returns the $which $n elements of $items | takes the $which $n items of $items",
       "返回 $items 的$which_zh $n 个元素 | 取出列表 $items 的$which_zh $n 项",
       "return $items[$slice$n$end]", "(list(range(40))) == list(range(40))[$slice$n$end]\n([]) == []",
       vary=dict(n=range(2, 30), which=[dict(which="first", which_zh="前", slice=":", end=""), dict(which="last", which_zh="后", slice="-", end=":")]))
family("swap_ends", "swap_ends swap_first_last exchange_ends", "items: list -> list",
       "swaps the first and the last element of $items | exchanges the first and last items of $items",
       "交换 $items 的第一个和最后一个元素 | 将列表 $items 的首尾元素互换",
       "$items[0], $items[-1] = $items[-1], $items[0]\nreturn $items", "([1, 2, 3]) == [3, 2, 1]\n([4]) == [4]")
family("all_equal", "all_equal all_same is_uniform", "items: list -> bool",
       "checks whether all elements of $items are equal | tells whether $items has only equal elements",
       "判断 $items 的所有元素是否相同 | 检查列表 $items 里的元素是否全部相等",
       "return len(set($items)) <= 1", "([1, 1]) == True\n([1, 2]) == False\n([]) == True")
family("has_duplicates", "has_duplicates any_repeats contains_duplicate", "items: list -> bool",
       "checks whether $items contains duplicates | tells whether any element of $items is repeated",
       "判断 $items 中是否有重复元素 | 检查列表 $items 是否包含重复的值",
       "return len(set($items)) != len($items)", "([1, 2, 1]) == True\n([1, 2]) == False")
family("range_of", "value_range spread max_minus_min", "nums: list[int] -> int",
       "returns the difference between the maximum and the minimum of $nums | computes the range of $nums, max minus min",
       "返回 $nums 中最大值与最小值的差 | 计算列表 $nums 的极差",
       "return max($nums) - min($nums)", "([1, 9, 4]) == 8\n([3]) == 0")
family("clip_list", "clip_list clamp_all limit_values", "nums: list[int] -> list[int]",
       "limits every number in $nums to the range $lo to $hi | clips the numbers in $nums between $lo and $hi",
       "将 $nums 中的每个数限制在 $lo 到 $hi 之间 | 把列表 $nums 的数字截断到 $lo 至 $hi 的范围",
       "return [max($lo, min($hi, x)) for x in $nums]", "([-5, $lo, 1000]) == [$lo, $lo, $hi]\n([]) == []", vary=dict(lo=range(0, 30), hi=range(40, 100)))
family("index_of_extreme", "index_of_$ext arg$ext position_of_$ext", "nums: list[int] -> int",
       "returns the index of the $ext_en number in $nums | finds the position of the $ext_en value in $nums",
       "返回 $nums 中$ext_zh的数的下标 | 找出列表 $nums 里$ext_zh值的位置",
       "return $nums.index($ext($nums))", "([3, 9, 1]) == [3, 9, 1].index($ext([3, 9, 1]))\n([7]) == 0",
       vary=dict(ext=[dict(ext="max", ext_en="largest", ext_zh="最大"), dict(ext="min", ext_en="smallest", ext_zh="最小")]))
family("partition_list", "partition split_by_limit divide", "nums: list[int] -> tuple",
       "splits $nums into numbers less than $k and the others, as two lists | returns two lists, the numbers of $nums less than $k and the rest",
       "将 $nums 分成小于 $k 和其余的两个列表 | 返回两个列表：$nums 中小于 $k 的数和其余的数",
       "low = [x for x in $nums if x < $k]\nhigh = [x for x in $nums if x >= $k]\nreturn low, high", "([$k, $k - 1, $k + 1]) == ([$k - 1], [$k, $k + 1])\n([]) == ([], [])", vary=dict(k=range(1, 100)))
family("replace_negative", "replace_negatives zero_negatives fix_negative", "nums: list[int] -> list[int]",
       "replaces the negative numbers in $nums with $k | returns $nums with every negative number changed to $k",
       "将 $nums 中的负数替换为 $k | 返回把负数都改成 $k 的 $nums",
       "return [$k if x < 0 else x for x in $nums]", "([-1, 2]) == [$k, 2]\n([]) == []", vary=dict(k=range(0, 50)))
family("range_list", "range_list numbers_between make_range", "start: int, end: int -> list[int]",
       "returns the list of integers from $start to $end inclusive | makes a list of all integers between $start and $end, both included",
       "返回从 $start 到 $end 的整数列表，包含两端 | 生成 $start 到 $end 之间所有整数的列表，含两端",
       "return list(range($start, $end + 1))", "(2, 5) == [2, 3, 4, 5]\n(3, 3) == [3]")
family("missing_number", "missing_number find_missing lost_number", "nums: list[int] -> int",
       "finds the missing number in $nums, which holds 0 to n without one number | returns the one number from 0 to n that is missing from $nums",
       "找出 $nums 中缺失的数，$nums 包含 0 到 n 中除一个外的所有数 | 返回 0 到 n 中 $nums 缺少的那个数",
       "n = len($nums)\nreturn n * (n + 1) // 2 - sum($nums)", "([3, 0, 1]) == 2\n([0]) == 1")
family("single_number", "single_number find_single lonely_number", "nums: list[int] -> int",
       "finds the number that occurs once in $nums when all others occur twice | returns the only number in $nums that is not repeated twice, by xor",
       "找出 $nums 中只出现一次的数，其余都出现两次 | 用异或求 $nums 里唯一只出现一次的数字",
       "result = 0\nfor x in $nums:\n    result ^= x\nreturn result", "([4, 1, 4]) == 1\n([7]) == 7")
