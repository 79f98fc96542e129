"""Sorting and searching."""
from .base import family

ORDER = [dict(ord_en="ascending", ord_zh="升序", rev="False", lt="<", gt=">"),
         dict(ord_en="descending", ord_zh="降序", rev="True", lt=">", gt="<")]

family("quick_sort", "quick_sort quicksort qsort sort_quick", "arr: list[int] -> list[int]",
       "sorts the list $arr with quicksort | uses quick sort to sort $arr | sorts $arr by the quicksort algorithm and returns the sorted list",
       "用快速排序对列表 $arr 排序 | 使用快速排序算法给 $arr 排序 | 用快排将 $arr 从小到大排序",
       """
if len($arr) <= 1:
    return $arr
pivot = $arr[len($arr) // 2]
left = [x for x in $arr if x < pivot]
middle = [x for x in $arr if x == pivot]
right = [x for x in $arr if x > pivot]
return $f(left) + middle + $f(right)
""", """
([3, 6, 8, 10, 1, 2, 1]) == [1, 1, 2, 3, 6, 8, 10]
([]) == []
([5, -1, 5, 0]) == [-1, 0, 5, 5]
""", topic=("quicksort", "快速排序"))

family("quick_sort_order", "quick_sort quicksort_order qsort_by sort_quick", "arr: list[int] -> list[int]",
       "sorts $arr in $ord_en order with quicksort | uses quick sort to put $arr into $ord_en order",
       "用快速排序把 $arr 按$ord_zh排列 | 使用快速排序对 $arr 进行$ord_zh排序",
       """
if len($arr) <= 1:
    return $arr
pivot = $arr[len($arr) // 2]
left = [x for x in $arr if x $lt pivot]
middle = [x for x in $arr if x == pivot]
right = [x for x in $arr if x $gt pivot]
return $f(left) + middle + $f(right)
""", """
([3, 6, 8, 1, 1]) == sorted([3, 6, 8, 1, 1], reverse=$rev)
([]) == []
""", vary=dict(order=ORDER))

family("bubble_sort", "bubble_sort sort_bubble bubblesort", "arr: list[int] -> list[int]",
       "sorts $arr with bubble sort in $ord_en order | uses the bubble sort algorithm to sort $arr in $ord_en order",
       "用冒泡排序对 $arr 进行$ord_zh排序 | 使用冒泡排序算法把 $arr 按$ord_zh排列",
       """
for end in range(len($arr) - 1, 0, -1):
    for j in range(end):
        if $arr[j] $gt $arr[j + 1]:
            $arr[j], $arr[j + 1] = $arr[j + 1], $arr[j]
return $arr
""", """
([4, 2, 7, 1]) == sorted([4, 2, 7, 1], reverse=$rev)
([]) == []
""", vary=dict(order=ORDER), topic=("bubble sort", "冒泡排序"))

family("insertion_sort", "insertion_sort insert_sort sort_by_insertion", "arr: list[int] -> list[int]",
       "sorts $arr with insertion sort | uses insertion sort to sort $arr in ascending order",
       "用插入排序对 $arr 排序 | 使用插入排序算法给列表 $arr 升序排序",
       """
for i in range(1, len($arr)):
    key = $arr[i]
    j = i - 1
    while j >= 0 and $arr[j] > key:
        $arr[j + 1] = $arr[j]
        j -= 1
    $arr[j + 1] = key
return $arr
""", "([4, 2, 7, 1]) == [1, 2, 4, 7]\n([]) == []\n([2, 2, 1]) == [1, 2, 2]", topic=("insertion sort", "插入排序"))

family("selection_sort", "selection_sort select_sort sort_by_selection", "arr: list[int] -> list[int]",
       "sorts $arr with selection sort | uses selection sort to sort $arr in ascending order",
       "用选择排序对 $arr 排序 | 使用选择排序算法给列表 $arr 升序排序",
       """
n = len($arr)
for i in range(n):
    low = i
    for j in range(i + 1, n):
        if $arr[j] < $arr[low]:
            low = j
    $arr[i], $arr[low] = $arr[low], $arr[i]
return $arr
""", "([4, 2, 7, 1]) == [1, 2, 4, 7]\n([]) == []\n([2, 2, 1]) == [1, 2, 2]", topic=("selection sort", "选择排序"))

family("merge_sort", "merge_sort mergesort sort_merge", "arr: list[int] -> list[int]",
       "sorts $arr with merge sort | uses the merge sort algorithm to sort $arr",
       "用归并排序对 $arr 排序 | 使用归并排序算法给列表 $arr 排序",
       """
if len($arr) <= 1:
    return $arr
mid = len($arr) // 2
left = $f($arr[:mid])
right = $f($arr[mid:])
result = []
while left and right:
    if left[0] <= right[0]:
        result.append(left.pop(0))
    else:
        result.append(right.pop(0))
return result + left + right
""", "([4, 2, 7, 1]) == [1, 2, 4, 7]\n([]) == []\n([2, 2, 1]) == [1, 2, 2]", topic=("merge sort", "归并排序"))

family("heap_sort", "heap_sort heapsort sort_heap", "arr: list[int] -> list[int]",
       "sorts $arr with a heap | uses heap sort to sort $arr",
       "用堆排序对 $arr 排序 | 使用堆对列表 $arr 排序",
       """
heap = list($arr)
heapq.heapify(heap)
return [heapq.heappop(heap) for _ in range(len(heap))]
""", "([4, 2, 7, 1]) == [1, 2, 4, 7]\n([]) == []", imports="import heapq", topic=("heap sort", "堆排序"))

family("counting_sort", "counting_sort count_sort sort_by_counts", "arr: list[int] -> list[int]",
       "sorts the non-negative integers in $arr with counting sort | uses counting sort on $arr",
       "用计数排序对非负整数列表 $arr 排序 | 使用计数排序算法给 $arr 排序",
       """
if not $arr:
    return []
counts = [0] * (max($arr) + 1)
for x in $arr:
    counts[x] += 1
result = []
for value, count in enumerate(counts):
    result.extend([value] * count)
return result
""", "([4, 2, 7, 1, 2]) == [1, 2, 2, 4, 7]\n([]) == []", topic=("counting sort", "计数排序"))

family("sort_list", "sort_list sort_numbers sorted_list arrange", "arr: list[int] -> list[int]",
       "returns $arr sorted in $ord_en order | sorts $arr in $ord_en order",
       "返回按$ord_zh排列的 $arr | 将列表 $arr $ord_zh排序",
       "return sorted($arr, reverse=$rev)",
       "([2, 3, 1]) == sorted([2, 3, 1], reverse=$rev)\n([]) == []", vary=dict(order=ORDER))

family("sort_by_length", "sort_by_length order_by_length length_sort", "words: list[str] -> list[str]",
       "sorts the strings in $words by length in $ord_en order | orders $words by their length, $ord_en",
       "按长度对 $words 中的字符串$ord_zh排序 | 将 $words 按字符串长度$ord_zh排列",
       "return sorted($words, key=len, reverse=$rev)",
       "(['aaa', 'b', 'cc']) == sorted(['aaa', 'b', 'cc'], key=len, reverse=$rev)\n([]) == []", vary=dict(order=ORDER))

family("sort_by_key", "sort_by_key sort_records order_dicts", "records: list[dict] -> list[dict]",
       "sorts the dictionaries in $records by the key '$key' | orders $records by '$key'",
       "按键 '$key' 对字典列表 $records 排序 | 将 $records 中的字典按 '$key' 排序",
       "return sorted($records, key=lambda r: r['$key'])",
       "([{'$key': 3}, {'$key': 1}]) == [{'$key': 1}, {'$key': 3}]\n([]) == []",
       vary=dict(key="age name price score size date rank weight height total count level".split()))

family("sort_by_second", "sort_by_second order_by_second sort_pairs", "pairs: list[tuple] -> list[tuple]",
       "sorts the tuples in $pairs by their second element | orders $pairs by the second item of each tuple",
       "按第二个元素对元组列表 $pairs 排序 | 将 $pairs 中的元组按第二项排序",
       "return sorted($pairs, key=lambda p: p[1])",
       "([(1, 3), (2, 1)]) == [(2, 1), (1, 3)]\n([]) == []")

family("sort_by_abs", "sort_by_abs abs_sort order_by_absolute", "nums: list[int] -> list[int]",
       "sorts $nums by absolute value | orders the numbers in $nums by their absolute value",
       "按绝对值对 $nums 排序 | 将 $nums 中的数字按绝对值从小到大排列",
       "return sorted($nums, key=abs)", "([-3, 1, 2]) == [1, 2, -3]\n([]) == []")

family("sort_words_lower", "sort_words sort_ignore_case alphabetical", "words: list[str] -> list[str]",
       "sorts $words alphabetically ignoring case | orders the words in $words alphabetically, case-insensitively",
       "忽略大小写按字母顺序对 $words 排序 | 将单词列表 $words 不分大小写地按字母排序",
       "return sorted($words, key=str.lower)", "(['b', 'A', 'c']) == ['A', 'b', 'c']\n([]) == []")

family("is_sorted", "is_sorted check_sorted in_order", "nums: list[int] -> bool",
       "checks whether $nums is sorted in $ord_en order | tells whether the list $nums is in $ord_en order",
       "判断 $nums 是否按$ord_zh排列 | 检查列表 $nums 是否为$ord_zh",
       "return $nums == sorted($nums, reverse=$rev)",
       "([1, 2, 3]) == (not $rev)\n([3, 2, 1]) == $rev\n([1, 3, 2]) == False", vary=dict(order=ORDER))

family("binary_search", "binary_search bin_search search_sorted", "arr: list[int], target: int -> int",
       "finds the index of $target in the sorted list $arr with binary search, or -1 | uses binary search to find $target in $arr and returns its index or -1",
       "用二分查找在有序列表 $arr 中查找 $target 的下标，找不到返回 -1 | 在有序列表 $arr 中二分查找 $target，返回下标或 -1",
       """
low, high = 0, len($arr) - 1
while low <= high:
    mid = (low + high) // 2
    if $arr[mid] == $target:
        return mid
    if $arr[mid] < $target:
        low = mid + 1
    else:
        high = mid - 1
return -1
""", "([1, 3, 5, 7], 5) == 2\n([1, 3, 5, 7], 4) == -1\n([], 1) == -1", topic=("binary search", "二分查找"))

family("linear_search", "linear_search find_index search_list", "arr: list[int], target: int -> int",
       "finds the first index of $target in $arr with a linear search, or -1 | looks through $arr from left to right for $target and returns the index or -1",
       "用线性查找在 $arr 中查找 $target 的下标，找不到返回 -1 | 顺序查找 $arr 中的 $target，返回下标或 -1",
       """
for i, x in enumerate($arr):
    if x == $target:
        return i
return -1
""", "([4, 2, 9], 9) == 2\n([4, 2], 5) == -1", topic=("linear search", "线性查找"))

family("insert_position", "insert_position search_insert insert_index", "arr: list[int], target: int -> int",
       "returns the index where $target should be inserted into the sorted list $arr | finds the insert position of $target in the sorted list $arr",
       "返回 $target 应插入有序列表 $arr 的位置 | 求 $target 在有序列表 $arr 中的插入位置",
       "return bisect.bisect_left($arr, $target)",
       "([1, 3, 5], 4) == 2\n([1, 3, 5], 0) == 0\n([], 2) == 0", imports="import bisect")

family("kth_largest", "kth_largest find_kth nth_largest", "nums: list[int], k: int -> int",
       "returns the $k-th largest number in $nums | finds the $k-th largest element of $nums",
       "返回 $nums 中第 $k 大的数 | 找出列表 $nums 里第 $k 大的元素",
       "return sorted($nums, reverse=True)[$k - 1]", "([3, 1, 5, 4], 2) == 4\n([7], 1) == 7")

family("top_n", "top_n largest_n top_values", "nums: list[int] -> list[int]",
       "returns the $n largest numbers in $nums in descending order | finds the top $n values of $nums, largest first",
       "返回 $nums 中最大的 $n 个数，从大到小 | 找出列表 $nums 里最大的 $n 个值，降序返回",
       "return sorted($nums, reverse=True)[:$n]",
       "([3, 1, 5, 4]) == [5, 4, 3, 1][:$n]\n([]) == []", vary=dict(n=range(2, 12)))

family("bottom_n", "bottom_n smallest_n lowest_values", "nums: list[int] -> list[int]",
       "returns the $n smallest numbers in $nums in ascending order | finds the lowest $n values of $nums, smallest first",
       "返回 $nums 中最小的 $n 个数，从小到大 | 找出列表 $nums 里最小的 $n 个值，升序返回",
       "return sorted($nums)[:$n]",
       "([3, 1, 5, 4]) == [1, 3, 4, 5][:$n]\n([]) == []", vary=dict(n=range(2, 12)))

family("merge_sorted", "merge_sorted merge_lists combine_sorted", "a: list[int], b: list[int] -> list[int]",
       "merges the two sorted lists $a and $b into one sorted list | combines sorted lists $a and $b into a sorted list",
       "将两个有序列表 $a 和 $b 合并为一个有序列表 | 合并有序列表 $a 与 $b，结果仍有序",
       """
result = []
i = j = 0
while i < len($a) and j < len($b):
    if $a[i] <= $b[j]:
        result.append($a[i])
        i += 1
    else:
        result.append($b[j])
        j += 1
return result + $a[i:] + $b[j:]
""", "([1, 4], [2, 3]) == [1, 2, 3, 4]\n([], [1]) == [1]")
